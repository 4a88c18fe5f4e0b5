"""Lists of full size: whoever sends one keeps nobody else waiting, and does not keep the server from ending."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx2
import psutil
import pytest

from tests.core.hostile_lists import LISTS
from tests.support.server import Api, Server
from tests.support.waiting import pause, until

pytestmark = [pytest.mark.alone, pytest.mark.embedded]

# The dearest of each kind, at the size that they are dearest at; JSON writes a newline with two signs.
SIZES = {
    "ansible, variables of hosts": 3_400_000,
    "ssh-config, one Host line": 3_400_000,
    "ssh-config, values": 500_000,
    "yaml, one host by aliases": 900_000,
}


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    with Server() as running:
        yield running


def sent(people: ThreadPoolExecutor, api: Api, name: str) -> Future[httpx2.Response]:
    kind, shape, _ = LISTS[name]
    body = {"text": shape(SIZES[name]), "format": kind, "dry_run": True}
    return people.submit(api.http.post, "/platforms/import", json=body, timeout=60)


def reading(own: Server) -> list[psutil.Process]:
    """The processes that read lists for the server."""
    return [
        each
        for each in psutil.Process(own.process.pid).children(recursive=True)
        if "testum.core.lists" in each.cmdline()
    ]


def slowest(took: list[float]) -> float:
    """The 99th percentile."""
    return sorted(took)[int(len(took) * 0.99)]


def test_others_are_answered_meanwhile(own: Server) -> None:
    api, nobody = own.client(), own.nobody()

    def ask() -> float:
        begun = time.monotonic()
        assert nobody.get("/health").status_code == 200
        took = time.monotonic() - begun
        pause(0.01)
        return took

    quiet = slowest([ask() for _ in range(100)])
    took: list[float] = []
    with ThreadPoolExecutor(1) as people:
        for name in SIZES:
            answer = sent(people, api, name)
            while not answer.done():
                took.append(ask())
            # It may have more hosts than an import takes: it is read all the same.
            assert answer.result().status_code in (200, 422), answer.result().text
    assert len(took) > 100
    # Where the machine has much else to do, each answer takes its time.
    assert slowest(took) < max(0.1, 5 * quiet), (quiet, sorted(took)[-20:])


def test_a_server_that_stops_waits_for_no_list(own: Server) -> None:
    api = own.client()
    with ThreadPoolExecutor(1) as people:
        answer = sent(people, api, "ansible, variables of hosts")
        until(lambda: reading(own))
        (child,) = reading(own)
        own.process.send_signal(signal.SIGTERM)
        assert own.web is not None
        own.web.end(10)
        assert not child.is_running()
        answer.exception(timeout=10)
