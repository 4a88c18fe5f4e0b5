"""Lists of full size: whoever sends one keeps nobody else waiting, and does not keep the server from ending."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx2
import psutil
import pytest

from tests.core.test_ansible_yaml import SHAPES
from tests.core.test_inventory import FULL
from tests.support.server import Api, Server
from tests.support.waiting import pause, until
from testum.core.ansible_yaml import MAX_TEXT

pytestmark = [pytest.mark.alone, pytest.mark.embedded]

LISTS = {
    **{name: FULL[name] for name in ("one Host line", "variables of hosts", "names in names")},
    "YAML": ("ansible", lambda: SHAPES["diamonds"](MAX_TEXT)),
}


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    with Server() as running:
        yield running


def sent(people: ThreadPoolExecutor, api: Api, name: str) -> Future[httpx2.Response]:
    kind, text = LISTS[name]
    # JSON writes a newline with two signs.
    body = {"text": text()[:3_700_000], "format": kind, "dry_run": True}
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
        for name in LISTS:
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
        answer = sent(people, api, "variables of hosts")
        until(lambda: reading(own))
        (child,) = reading(own)
        own.process.send_signal(signal.SIGTERM)
        assert own.web is not None
        own.web.end(10)
        assert not child.is_running()
        answer.exception(timeout=10)
