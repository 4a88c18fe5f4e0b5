"""`python -m bench`: every figure, and whether it holds. Needs root, for its own network namespace."""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

from bench import fanout, workers
from tests.support.server import Server, missing

_INSIDE = "TESTUM_BENCH_NAMESPACE"


def enter_namespace() -> None:
    """Start again in a network namespace of our own, where all there is is the loopback."""
    if os.environ.get(_INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", sys.executable, "-m", "bench", *sys.argv[1:]])


def weight() -> list[tuple[str, float, str, bool]]:
    """The idle server's memory, and how quickly the command line answers."""
    with Server() as server:
        server.client()
        time.sleep(2)
        assert server.process is not None
        resident = psutil.Process(server.process.pid).memory_info().rss / 2**20
    starts = []
    for _ in range(7):
        begin = time.perf_counter()
        subprocess.run([Path(sys.executable).with_name("testum"), "--help"], check=True, capture_output=True)
        starts.append(time.perf_counter() - begin)
    start = statistics.median(starts)
    return [
        ("idle server, resident MiB", resident, "<= 150", resident <= 150),
        ("testum --help, seconds", start, "< 0.3", start < 0.3),
    ]


def main() -> None:
    """Measure, print, and fail if a figure does not hold."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument(
        "--others", type=Path, required=True, help="the folder with clush, ansible and python"
    )
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=2, help="rounds of clush and Ansible")
    parser.add_argument("--cold-hosts", type=int, default=500, help="hosts of the race of workers")
    arguments = parser.parse_args()
    enter_namespace()
    others = arguments.others.absolute()
    figures = weight() + fanout.measure(others, arguments.rounds, arguments.hosts, arguments.slow_rounds)
    if lacking := missing():
        print(f"NOT RUN, the race of workers: {lacking}.")
    else:
        figures += workers.measure(arguments.rounds, arguments.cold_hosts)
    print("\nFigures")
    for name, value, limit, holds in figures:
        print(f"  {'ok  ' if holds else 'FAIL'} {name:42} {value:8.2f}  {limit}")
    sys.exit(not all(holds for *_, holds in figures))


if __name__ == "__main__":
    main()
