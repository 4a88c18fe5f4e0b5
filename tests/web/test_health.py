"""Health: what load balancers and people are told, with all there and with parts away."""

import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.support.application import Application
from tests.support.server import Api, Installation, Server, walls
from tests.support.waiting import until
from testum.services import status


def ready(site: Installation) -> tuple[int, str, dict[str, str]]:
    with site.nobody() as client:
        answer = client.get("/health/ready", timeout=10)
    body = answer.json()
    return answer.status_code, body["status"], body["walls"]


ALL = dict.fromkeys(("database", "events", "dispatch", "artifacts"), "ok")


def test_all_is_well(server: Server) -> None:
    assert httpx2.get(f"{server.url}/health", timeout=60).json()["status"] == "ok"
    assert httpx2.get(f"{server.url}/health/live", timeout=60).json() == {"status": "ok"}
    until(lambda: ready(server) == (200, "ok", ALL))


def test_workers_are_listed(server: Server, api: Api) -> None:
    # One that could not reach the database says that it lives once it can.
    until(lambda: len(api.get("/workers/")) == (2 if server.servers else 0))
    assert all(worker["zones"] == ["default"] for worker in api.get("/workers/"))


@pytest.mark.embedded
def test_a_data_directory_that_is_gone() -> None:
    with Application() as site:
        site.data_dir.rename(site.data_dir.with_name(site.data_dir.name + "-away"))
        try:
            _, status, state = ready(site)
            assert (status, state["artifacts"]) != ("ok", "ok")
        finally:
            site.data_dir.with_name(site.data_dir.name + "-away").rename(site.data_dir)
        assert ready(site) == (200, "ok", ALL)


@pytest.fixture(scope="module")
def hasty() -> Iterator[Application]:
    """A web process that waits a shorter time for a wall than others do."""
    assert status._PATIENCE_SECONDS < 9 / 2
    with pytest.MonkeyPatch.context() as patched, Application() as site:
        patched.setattr(status, "_PATIENCE_SECONDS", 1.0)
        yield site


@pytest.mark.servers
@pytest.mark.parametrize(
    ("wall", "leave", "back", "away", "code"),
    [
        ("s3", "stop", "start", {"artifacts"}, 200),
        ("s3", "pause", "resume", {"artifacts"}, 200),
        ("redis", "kill", "start", {"events", "dispatch"}, 200),
        ("redis", "pause", "resume", {"events", "dispatch"}, 200),
        ("postgres", "stop", "start", {"database"}, 503),
        ("postgres", "pause", "resume", {"database"}, 503),
    ],
)
def test_a_wall_that_is_away_is_named(
    hasty: Application, server: Server, wall: str, leave: str, back: str, away: set[str], code: int
) -> None:
    part = getattr(walls(), wall)
    getattr(part, leave)()
    try:
        begun = time.monotonic()
        told = ready(hasty)
        assert time.monotonic() - begun < 9
        assert told[2] == ALL | dict.fromkeys(away, "unavailable")
        assert told[:2] == (code, "unavailable" if code == 503 else "degraded")
        # The process itself needs no restart.
        with hasty.nobody() as client:
            assert client.get("/health/live", timeout=60).status_code == 200
            assert client.get("/health", timeout=10).status_code == code
    finally:
        getattr(part, back)()
    # Others go on with the server.
    for site in (hasty, server):
        until(lambda site=site: ready(site) == (200, "ok", ALL))
