"""A database that is away for a while, in the midst of tasks: they wait for it, and none fails for it."""

import time
from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from tests.support.application import Application
from tests.support.proxy import Proxies
from tests.support.server import Api, Server, walls
from tests.support.sshd import RealSshd
from tests.support.tools import unique
from tests.support.waiting import until
from testum.db import postgresql

pytestmark = pytest.mark.servers


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    made = Proxies()
    yield made
    made.close()


def test_what_is_learned_of_a_host_is_stored_when_it_is_back(
    server: Server, api: Api, real_sshd: RealSshd, proxies: Proxies
) -> None:
    """The host's key, on the first connection, and the facts of another one whose key is known."""
    ways = to_new, to_known = [proxies.add(real_sshd.port) for _ in range(2)]
    new, known = (api.add_platform(unique(), real_sshd, port=way.port)["id"] for way in ways)
    api.run("true", targets={"platform_ids": [known]})
    # The hosts answer only once the database is away: one is not connected to before, the other has been sent its program.
    to_new.hold()
    to_known.delay = 0.4
    jobs = [
        api.start_job("echo done", targets={"platform_ids": [new]}),
        api.start_job(type="gather_facts", targets={"platform_ids": [known]}),
    ]
    until(lambda: server.sent(jobs[1]))
    to_known.hold()
    until(lambda: all(way.holding for way in ways))
    before = len(server.log.read_text())

    def said() -> str:
        return server.log.read_text()[before:]

    walls().postgres.stop(immediate=True)
    try:
        for way in ways:
            way.release()
        # What the tasks have learned they cannot store now.
        for what in ("of='a host key'", "of=facts"):
            until(lambda what=what: what in said(), 20, otherwise=said)
    finally:
        walls().postgres.start()
    until(lambda: api.http.get(f"/jobs/{jobs[0]}").status_code == 200)
    for job in jobs:
        api.wait_job(job)
        (task,) = api.tasks(job)
        assert (task["status"], task["error_code"]) == ("success", None), task
    for platform in (new, known):
        assert api.get(f"/platforms/{platform}")["known_host_fingerprint"]


def test_a_table_that_another_program_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is told, and does not wait for as long as that program likes."""
    monkeypatch.setattr(postgresql, "_LOCK_SECONDS", 1)
    with Application() as site:
        api = site.client()
        with psycopg.connect(site.env["DATABASE_URL"]) as other:
            other.execute("LOCK TABLE jobs, platforms IN ACCESS EXCLUSIVE MODE")
            for answer in (
                api.http.get("/jobs/"),
                api.http.get("/platforms/"),
                api.http.post(f"/jobs/{UUID(int=1)}/cancel"),
            ):
                assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable"), (
                    answer.text
                )
                assert "Another program holds" in answer.json()["detail"] and answer.headers["Retry-After"]
        assert api.get("/jobs/") == []


@pytest.mark.slow
def test_a_database_that_hangs(monkeypatch: pytest.MonkeyPatch, proxies: Proxies) -> None:
    """It keeps its connections, and takes new ones, and answers over none."""
    monkeypatch.setattr(postgresql, "_ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(postgresql, "_PING_SECONDS", 0.5)
    monkeypatch.setattr(postgresql._Connection, "patience", 1.0)
    way = proxies.add(walls().postgres.port)
    with Application() as site:
        address = site.env["DATABASE_URL"]
        site.env["DATABASE_URL"] = address.replace(f":{walls().postgres.port}/", f":{way.port}/")
        assert site.env["DATABASE_URL"] != address
        site.stop()
        site.start()
        api = site.client()
        assert api.get("/jobs/") == []
        way.hold()
        asked = time.monotonic()
        for _ in range(2):
            answer = api.http.get("/jobs/")
            assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable"), answer.text
            assert answer.headers["Retry-After"]
        assert time.monotonic() - asked < 2 * (1.5 + 10 + 5 + 5)
        way.release()
        until(lambda: api.http.get("/jobs/").status_code == 200)
