"""Large outputs by lines: how soon they are shown and searched, and what that costs the server meanwhile.

The limits are those of the issue with room for a busy machine; run with `-s` to see the figures.
"""

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import psutil
import pytest

from tests.support.server import Api, Server
from tests.support.sshd import RealSshd

pytestmark = pytest.mark.walls

LINE = "%09.0f the quick brown fox jumps over the lazy dog; some more text, so that it is a hundred bytes"


@pytest.fixture(scope="module")
def large(real_sshd: RealSshd) -> Iterator[tuple[Server, Api, str]]:
    """A server of its own, whose memory is looked at, and a platform on it."""
    with Server(env={"ACCESS_TOKEN_SECONDS": "7200"}, forked=False) as server:
        api = server.client()
        platform = api.add_platform(f"large-{secrets.token_hex(4)}", real_sshd)
        yield server, api, platform["id"]


@contextmanager
def pings(server: Server) -> Iterator[list[float]]:
    """How long the server takes meanwhile for a request that does nothing, in seconds."""
    took: list[float] = []
    over = threading.Event()

    def ping() -> None:
        with httpx2.Client(base_url=server.url, timeout=60) as client:
            while not over.wait(0.01):
                began = time.perf_counter()
                assert client.get("/health/live").status_code == 200
                took.append(time.perf_counter() - began)

    thread = threading.Thread(target=ping)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()


def timed(name: str, api: Api, path: str, **params: Any) -> tuple[Any, float]:
    """What is answered when it is complete, and after how many seconds."""
    began = time.perf_counter()
    answer = api.get(path, **params)
    first = time.perf_counter() - began
    while not answer["complete"]:
        answer = api.get(path, **params)
    whole = time.perf_counter() - began
    print(f"{name:>32}: first answer {first:.3f} s, complete {whole:.3f} s")
    return answer, whole


def look(server: Server, api: Api, task_id: str, count: int) -> dict[str, float]:
    """Look at an output as the viewer does; the seconds that each look took."""
    path = f"/tasks/{task_id}/lines"
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    took: dict[str, float] = {}
    with pings(server) as lag:
        began = time.perf_counter()
        first = api.get(path, limit=200)
        took["first lines"] = time.perf_counter() - began
        assert [line["number"] for line in first["lines"]] == list(range(1, 201))
        began = time.perf_counter()
        tail = api.get(path, tail=True, limit=200)
        took["tail"] = time.perf_counter() - began
        # Counted or not, the end is there.
        assert tail["lines"][-1]["text"].startswith(f"{count:09} ") and len(tail["lines"]) == 200
        page, took["last lines"] = timed("last lines, with numbers", api, path, tail=True, limit=200)
        assert page["lines"][-1]["number"] == page["total"] == count
        page, took["middle"] = timed("middle", api, path, limit=200, **{"from": count // 2})
        assert page["lines"][0]["text"].startswith(f"{count // 2:09} ")
        search = f"{path}/search"
        for name, q, options, expected in [
            ("one match", f"{count // 2:09}", {}, 1),
            ("no match", "nowhere", {}, 0),
            ("in other letters", "LAZY DOG; SOME", {}, count),
            ("expression", "^0+[17]00000 .* fox", {"regex": True}, 2),
        ]:
            found, took[name] = timed(name, api, search, q=q, **options)
            assert found["count"] == expected and found["searched"] == count
    lag.sort()
    took["lag"] = lag[len(lag) * 99 // 100]
    took["memory"] = (process.memory_info().rss - before) / 2**20
    print(
        f"first lines {took['first lines']:.3f} s, last lines {took['tail']:.3f} s; another request meanwhile: median {lag[len(lag) // 2] * 1000:.0f} ms,"
        f" 99 % {lag[len(lag) * 99 // 100] * 1000:.0f} ms, longest {lag[-1] * 1000:.0f} ms; {took['memory']:.0f} MiB more"
    )
    return took


@pytest.mark.walls(slow=True)
@pytest.mark.alone
def test_a_million_lines(large: tuple[Server, Api, str]) -> None:
    server, api, platform = large
    task = api.run(f"seq -f '{LINE}' 1 1000000", targets={"platform_ids": [platform]})
    took = look(server, api, task["id"], 1_000_000)
    assert took["first lines"] < 1 and took["tail"] < 2 and took["middle"] < 1
    # From an artifact store it is read once, at that store's pace.
    assert took["last lines"] < (10 if server.servers else 2)
    assert took["one match"] < 2 and took["no match"] < 2 and took["expression"] < 2
    assert took["lag"] < 0.5 and took["memory"] < 100

    # To count what every line matches takes longer than one answer may; the first match is there at once.
    path = f"/tasks/{task['id']}/lines/search"
    began = time.perf_counter()
    found = api.get(path, q="[a-z]+ (fox|dog)", regex=True, limit=1, **{"from": 4711})
    first = time.perf_counter() - began
    assert (found["hits"], found["ordinal"]) == ([4711], 4711) and first < 1.5
    found, _ = timed("what every line has", api, path, q="[a-z]+ (fox|dog)", regex=True)
    print(f"its first match {first:.3f} s")
    assert found["count"] == 1_000_000


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_gigabyte(large: tuple[Server, Api, str]) -> None:
    server, api, platform = large
    count = 10_000_000
    task = api.run(f"seq -f '{LINE}' 1 {count}", seconds=300, targets={"platform_ids": [platform]})
    assert task["output_bytes"] > 10**9
    took = look(server, api, task["id"], count)
    assert took["first lines"] < 1 and took["tail"] < 2 and took["middle"] < 1
    assert took["lag"] < 0.5 and took["memory"] < 100
