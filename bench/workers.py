"""Two workers on Celery against everything in one process, on the same machine in the same run: how quick a cold
fan-out is, and how long it takes from a request to the first byte of output."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.fanout import CONCURRENCY, Hosts, add_platforms, job
from tests.support.server import Api, Process, Server
from tests.support.stream import messages, watch

_WORKERS = 2
_REQUESTS = 40


@contextmanager
def installation(mode: str) -> Iterator[Api]:
    """A new one, with two workers of one process each where it has workers."""
    env = {"TASK_CONCURRENCY": str(CONCURRENCY), "WORKER_PROCESSES": "1"}
    with Server(env=env, mode=mode) as server:
        others = []
        try:
            if server.servers:
                others = [
                    Process(["worker"], server.env, server.data_dir, server.log) for _ in range(_WORKERS - 1)
                ]
            api = server.client()
            while server.servers and len(api.get("/workers/")) < _WORKERS:
                time.sleep(0.1)
            yield api
        finally:
            for other in others:
                other.stop()


def first_byte(api: Api) -> float:
    """Milliseconds from the request to the first byte that a watcher is shown, on a host that is connected."""
    target = api.get("/platforms/", q="waker")[0]["id"]
    begin = time.perf_counter()
    job_id = api.start_job("echo x; sleep 0.2", targets={"platform_ids": [target]})
    with watch(api, f"jobs/{job_id}") as watching:
        for message in messages(watching):
            if message["type"] == "stdout":
                return 1000 * (time.perf_counter() - begin)
    raise AssertionError("a job without output")


def measure(rounds: int, number: int) -> list[tuple[str, float, str, bool]]:
    """Each figure with its limit and whether it holds."""
    rates: dict[str, list[float]] = {"embedded": [], "servers": []}
    delays: dict[str, list[float]] = {"embedded": [], "servers": []}
    hosts = Hosts(number)
    try:
        for _ in range(rounds):
            for mode in rates:
                with installation(mode) as api:
                    add_platforms(api, hosts)
                    delays[mode] += [first_byte(api) for _ in range(_REQUESTS)]
                    rates[mode].append(number / job(api, number))
    finally:
        hosts.close()
    print(f"\n`true` on {number} cold hosts, tasks per second, and milliseconds to the first byte: medians")
    for mode in rates:
        print(
            f"  {mode:10} {statistics.median(rates[mode]):6.1f}  ({' '.join(f'{rate:.1f}' for rate in rates[mode])})"
            f"  {statistics.median(delays[mode]):6.1f} ms"
        )
    share = statistics.median(
        several / one for several, one in zip(rates["servers"], rates["embedded"], strict=True)
    )
    overhead = statistics.median(delays["servers"]) - statistics.median(delays["embedded"])
    return [
        ("two workers: the embedded rate, share", share, ">= 0.85", share >= 0.85),
        ("two workers: overhead to first byte, ms", overhead, "< 50", overhead < 50),
    ]
