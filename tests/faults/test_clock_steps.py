"""The database's clock is set while testum works: nothing that is decided by how long something took follows it."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.ssh.test_terminate import commands
from tests.support import server as installations
from tests.support.clock import Clock
from tests.support.postgres import PostgresServer
from tests.support.server import Api, Server, Walls
from tests.support.sshd import RealSshd
from tests.support.waiting import stays, until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

LEASE = 4.0
HOUR = 3600.0


@pytest.fixture(scope="module")
def clock() -> Iterator[Clock]:
    with closing(Clock()) as made:
        yield made


@pytest.fixture(scope="module")
def own(clock: Clock) -> Iterator[Server]:
    """Its PostgreSQL has that clock."""
    with PostgresServer(clock) as postgres:
        shared = installations.walls()
        walls = Walls(postgres, shared.redis, shared.s3)
        with Server(env={**walls.environment(), "LEASE_SECONDS": str(LEASE)}) as running:
            yield running


@pytest.fixture(autouse=True)
def right(clock: Clock) -> Iterator[None]:
    """Each test begins with the right time."""
    yield
    clock.set(0)


def only_task(api: Api, job_id: str) -> Any:
    (task,) = answered(api, "/tasks/", job_id=job_id)
    return answered(api, f"/tasks/{task['id']}")


def answered(api: Api, path: str, **params: str) -> Any:
    """Asked again where PostgreSQL ended the connection: it measures by the clock that is set how long a transaction is
    idle."""

    def answer() -> Any:
        response = api.http.get(path, params=params)
        return None if response.status_code == 503 else api.ok(response)

    return until(answer)


@pytest.mark.parametrize("seconds", [pytest.param(HOUR, marks=pytest.mark.slow), -HOUR])
def test_who_lives_keeps_its_tasks(own: Server, clock: Clock, real_sshd: RealSshd, seconds: float) -> None:
    api = own.client()
    platform = api.add_platform(f"lives{seconds}", real_sshd)
    of_it = {"platform_ids": [platform["id"]]}
    gate = real_sshd.user.home / f"gate{seconds}"
    going_on = api.start_job(f"until [ -e {gate} ]; do sleep 0.1; done; echo whole", targets=of_it)
    until(lambda: only_task(api, going_on)["status"] == "running")
    clock.set(seconds)
    stays(lambda: only_task(api, going_on)["status"] == "running", 2 * LEASE)
    gate.touch()
    assert api.wait_job(going_on)["status"] == "success"
    assert only_task(api, going_on)["stdout"] == "whole\n"


def test_who_died_is_noticed_and_looked_for(own: Server, clock: Clock) -> None:
    """By a clock that is set back an hour, and then forward by a month."""
    with closing(RealSshd()) as host:
        api = own.client()
        of_it = {"platform_ids": [api.add_platform("dies", host)["id"]]}
        job_id = api.start_job("sleep 3971", targets=of_it)
        until(lambda: commands(host, "3971"))
        own.kill()
        own.start()
        clock.set(-HOUR)
        until(lambda: only_task(api, job_id)["status"] == "lost", 3 * LEASE)

        def looked() -> Any:
            return only_task(api, job_id)["metadata"].get("termination", {}).get("looked_at")

        until(looked, 30)
        for step in (HOUR, 30 * 24 * HOUR, -HOUR):
            clock.set(step)
            before = looked()
            until(lambda before=before: looked() != before, 60)
            task = only_task(api, job_id)
            assert task["may_still_run"] and task["metadata"]["termination"]["looking"], task
        host.user.kill_all()
        until(lambda: not only_task(api, job_id)["may_still_run"], 60)
        assert only_task(api, job_id)["metadata"]["termination"]["state"] == "confirmed"
