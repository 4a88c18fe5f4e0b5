"""Health: what load balancers and people are told, with all there and with parts away."""

import asyncio
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
from redis import Redis
from sqlalchemy.engine import make_url

from tests.support.application import Application
from tests.support.server import Api, Installation, Server, walls
from tests.support.sshd import RealSshd
from tests.support.tools import ask
from tests.support.waiting import turns, until
from testum.db.session import Database
from testum.errors import StorageUnavailable
from testum.services import status
from testum.services.intake import Intake


def ready(site: Installation) -> tuple[int, str, dict[str, str]]:
    with site.nobody() as client:
        answer = client.get("/health/ready", timeout=10)
    body = answer.json()
    return answer.status_code, body["status"], body["walls"]


ALL = dict.fromkeys(("database", "events", "dispatch", "artifacts"), "ok")


def told(site: Installation, code: int = 200, **away: str) -> Callable[[], bool]:
    """Whether it says of these walls what is the matter with them, with this status, and has said of each other one by now
    that it is well: on a busy machine one of those may be slow at any moment."""
    well: set[str] = set()

    def so() -> bool:
        status_code, said, walls = ready(site)
        well.update(wall for wall, state in walls.items() if state == "ok")
        named = all(walls[wall] == state for wall, state in away.items())
        right = said == "unavailable" if code == 503 else said == "degraded" if away else True
        return status_code == code and named and right and well >= ALL.keys() - away.keys()

    return so


def test_all_is_well(server: Server) -> None:
    assert ask("GET", f"{server.url}/health", timeout=60).json()["status"] == "healthy"
    assert ask("GET", f"{server.url}/health/live", timeout=60).json() == {"status": "ok"}
    until(lambda: ready(server) == (200, "ok", ALL))


def test_workers_are_listed(server: Server, api: Api) -> None:
    # One that could not reach the database says that it lives once it can.
    until(lambda: len(api.get("/workers/")) == (2 if server.servers else 0))
    assert all(worker["zones"] == ["default"] for worker in api.get("/workers/"))


@pytest.mark.embedded
def test_a_data_directory_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_FRESH_SECONDS", 0.0)
    with Application() as site:
        site.data_dir.rename(site.data_dir.with_name(site.data_dir.name + "-away"))
        try:
            _, said, state = ready(site)
            assert (said, state["artifacts"]) != ("ok", "ok")
        finally:
            site.data_dir.with_name(site.data_dir.name + "-away").rename(site.data_dir)
        assert ready(site) == (200, "ok", ALL)


@pytest.fixture(scope="module")
def hasty() -> Iterator[Application]:
    """A web process that waits a shorter time for a wall than others do."""
    with pytest.MonkeyPatch.context() as patched, Application() as site:
        patched.setattr(status, "_PATIENCE_SECONDS", 1.0)
        patched.setattr(status, "_FRESH_SECONDS", 0.0)
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
        ready(hasty)
        # It waits for each wall once; what else the machine does takes its time, too.
        # The drivers' own limits are 30 seconds and more for two of the three.
        assert time.monotonic() - begun < 15
        until(told(hasty, code, **dict.fromkeys(away, "unavailable")))
        # The process itself needs no restart.
        with hasty.nobody() as client:
            assert client.get("/health/live", timeout=60).status_code == 200
            assert client.get("/health", timeout=10).status_code == code
    finally:
        getattr(part, back)()
    # Others go on with the server.
    for site in (hasty, server):
        until(told(site))


@pytest.mark.servers
@pytest.mark.parametrize("setting", ["maxmemory", "min-replicas-to-write"])
def test_a_redis_that_refuses_to_write_is_named(hasty: Application, setting: str) -> None:
    """It answers, and pings, all the while."""
    with Redis.from_url(walls().redis.url()) as client:
        before = client.config_get(setting)[setting]
        client.config_set(setting, "1")
        try:
            until(told(hasty, events="read_only", dispatch="read_only"))
        finally:
            client.config_set(setting, before)
    until(told(hasty))


@pytest.mark.servers
def test_workers_outlive_a_redis_that_refuses_to_write(api: Api, server: Server, real_sshd: RealSshd) -> None:
    """It refuses to give messages, too, which is an answer and no broken connection."""
    api.add_platform("outlives", real_sshd)
    before = len(server.log.read_text())
    with Redis.from_url(walls().redis.url()) as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            until(lambda: "NOREPLICAS" in server.log.read_text()[before:])
        finally:
            client.config_set("min-replicas-to-write", 0)
    assert api.run("true", targets={"names": ["outlives"]})["status"] == "success"


@pytest.mark.servers
def test_a_database_that_refuses_to_write_is_named(hasty: Application) -> None:
    address = make_url(hasty.env["DATABASE_URL"])
    with psycopg.connect(hasty.env["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{address.database}" SET default_transaction_read_only = on')
        try:
            until(on_new_connections(connection, told(hasty, 503, database="read_only")))
            with hasty.nobody() as client:
                assert client.get("/health").status_code == 200, "it answers"
        finally:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f'ALTER DATABASE "{address.database}" RESET default_transaction_read_only')
            until(on_new_connections(connection, told(hasty)))


def on_new_connections(
    connection: psycopg.Connection[Any], condition: Callable[[], bool]
) -> Callable[[], bool]:
    """The condition, for a database whose settings were changed just now: connections that are older, which keep the old
    ones, are ended each time. One that was being made meanwhile is not listed from the first."""
    (changed,) = connection.execute("SELECT clock_timestamp()").fetchone() or ()

    def so() -> bool:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid() AND backend_start < %s",
            [changed],
        )
        return condition()

    return so


@pytest.mark.embedded
def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with Application() as site:
        monkeypatch.setattr(status, "_FRESH_SECONDS", 0.0)
        assert ready(site) == (200, "ok", ALL)
        # No file may grow, as on a full disk. Python lets SIGXFSZ pass.
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            code, said, state = ready(site)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert state["artifacts"] == "full" and said != "ok" and state["database"] != "ok", (code, state)
        assert ready(site) == (200, "ok", ALL)


def test_however_often_it_is_asked_the_walls_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    async def trying(name: str) -> None:
        tried.append(name)
        await turns(3)
        if name == "broken":
            raise StorageUnavailable("It is away.")

    async def ask() -> None:
        names = ("events", "broken")
        walls = {name: partial(trying, name) for name in names}
        state = status.Status(Database("sqlite+aiosqlite://"), None, None, walls, Intake())  # type: ignore[arg-type]
        del state._walls["database"]
        for _ in range(5):
            answers = await asyncio.gather(*(state.walls() for _ in range(20)))
            assert all(one == {"events": "ok", "broken": "unavailable"} for one in answers)
        assert sorted(tried) == ["broken", "events"]
        monkeypatch.setattr(status, "_FRESH_SECONDS", 0.0)
        await state.walls()
        assert len(tried) == 4

    assert status._FRESH_SECONDS <= 10
    asyncio.run(ask())
