"""Events over Redis: what comes back after a server that was away, hung, lost everything, or was another one."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from structlog.testing import capture_logs

from tests.events.test_events import SOON, heard, hint
from tests.support import redis as support
from tests.support.redis import RedisServer
from tests.support.sshd import free_port
from tests.support.waiting import eventually, lag
from testum.errors import ConfigurationError, StorageUnavailable
from testum.events import redis as module
from testum.events.base import Hint, Subscription
from testum.events.redis import RedisEvents, pack, unpack

STREAM = "testum:events:tasks"


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    """A Redis that tests may break."""
    if reason := support.missing():
        pytest.skip(reason)
    with RedisServer() as server:
        yield server


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before `pair`: reads that wait, and those that do not, have a second."""
    monkeypatch.setattr(module, "_BLOCK_SECONDS", 1.0)
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 1.0)


@pytest.fixture
async def pair(own_server: RedisServer) -> AsyncIterator[tuple[RedisEvents, RedisEvents]]:
    """Two processes' events over one Redis."""
    url = own_server.fresh_url()
    made = RedisEvents(url), RedisEvents(url)
    for end in made:
        await end.start()
    yield made
    for end in made:
        await end.close()


async def carried(here: RedisEvents, listening: Subscription, job_id: UUID) -> None:
    """Events go through again: of those that are published again and again, one is heard."""
    async with asyncio.timeout(2 * SOON):
        while True:
            told = hint(job_id)
            here.publish(told)
            if told in await listening.wait(0.2):
                return


def database(events: RedisEvents) -> Any:
    """A client of the database that the events are in."""
    return events._client


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        (RedisServer.kill, RedisServer.start),
        (RedisServer.stop, RedisServer.start),
        (RedisServer.pause, RedisServer.resume),
    ],
    ids=["killed", "stopped", "hung"],
)
async def test_a_server_that_was_away(
    hurried: None,
    own_server: RedisServer,
    pair: tuple[RedisEvents, RedisEvents],
    break_it: Callable[[RedisServer], None],
    mend_it: Callable[[RedisServer], None],
) -> None:
    """While it is away publishing neither waits nor raises; what was published is heard when it is back."""
    here, there = pair
    told = hint()
    async with there.subscribe(job_id=told.job_id) as listening:
        here.publish(told)
        assert await heard(listening, 1) == {told}
        break_it(own_server)
        try:
            begun = time.monotonic()
            during = [hint(told.job_id) for _ in range(100)]
            for published in during:
                here.publish(published)
            assert time.monotonic() - begun < 20
            for answer in await asyncio.gather(*(end.check() for end in pair), return_exceptions=True):
                assert isinstance(answer, StorageUnavailable)
                assert answer.message.startswith("Redis does not answer"), answer
        finally:
            mend_it(own_server)
        found: set[Hint] = set()
        while not found >= set(during):
            found |= await heard(listening, 1)
        # What was on its way may come twice: nobody knows whether it went through.
        assert found <= {told, *during}
        for end in pair:
            await end.check()


async def test_connections_that_break_lose_nothing(
    own_server: RedisServer, pair: tuple[RedisEvents, RedisEvents]
) -> None:
    """A listener reads on from where it was: what was published while it was cut off it hears too."""
    here, there = pair
    job_id = uuid4()
    told = [hint(job_id) for _ in range(300)]
    async with there.subscribe(job_id=job_id) as listening:
        with redis.Redis.from_url(own_server.url()) as knife:
            for number, published in enumerate(told):
                if number % 60 == 0:
                    for client in knife.client_list():
                        if client["name"] == "testum":
                            knife.client_kill_filter(_id=client["id"])
                here.publish(published)
                await lag(0.01)
        assert await heard(listening, len(told)) == set(told)


async def test_who_was_cut_off_looks_by_itself(
    own_server: RedisServer, pair: tuple[RedisEvents, RedisEvents]
) -> None:
    """A restarted server has lost what was in the stream: listeners wake without a hint, before their time."""
    _, there = pair
    async with there.subscribe(task_id=uuid4()) as listening:
        waiting = asyncio.create_task(listening.wait(60))

        async def both_listen() -> bool:
            return bool((await database(there).info("clients"))["blocked_clients"] >= 2)

        await eventually(both_listen)
        own_server.kill()
        own_server.start()
        assert await asyncio.wait_for(waiting, SOON) == set()


async def test_a_flushed_server(pair: tuple[RedisEvents, RedisEvents]) -> None:
    here, there = pair
    job_id = uuid4()
    async with there.subscribe(job_id=job_id) as listening:
        await carried(here, listening, job_id)
        await database(here).flushdb()
        await carried(here, listening, job_id)


async def test_a_server_whose_clock_is_behind(hurried: None, pair: tuple[RedisEvents, RedisEvents]) -> None:
    """The stream's ids are times. Where it begins anew with earlier ones, as after a move of the Redis to another
    machine, listeners go with it."""
    here, there = pair
    job_id = uuid4()
    async with there.subscribe(job_id=job_id) as listening:
        await carried(here, listening, job_id)
        await database(here).delete(STREAM)
        packed = {"from": b"another", "hints": pack([hint(job_id)])}
        for number in range(1, 3):
            await database(here).xadd(STREAM, packed, id=f"{number}-1")
        # It shows when nothing has come for a while.
        async with asyncio.timeout(2 * SOON):
            assert await listening.wait(2 * SOON) <= set(unpack(packed["hints"]))
            later = hint(job_id)
            await database(here).xadd(STREAM, {"from": b"another", "hints": pack([later])}, id="3-1")
            while later not in await listening.wait(SOON):
                pass


async def test_hints_come_after_a_long_silence(hurried: None, pair: tuple[RedisEvents, RedisEvents]) -> None:
    """A read that waits is no dead connection: silence for longer than every timeout is no fault."""
    here, there = pair
    job_id = uuid4()
    async with there.subscribe(job_id=job_id) as listening:
        with capture_logs() as logged:
            assert await listening.wait(2.5) == set()
            told = hint(job_id)
            here.publish(told)
            assert await heard(listening, 1) == {told}
        assert [entry for entry in logged if entry["log_level"] == "error"] == []


async def test_the_stream_stays_short(pair: tuple[RedisEvents, RedisEvents]) -> None:
    here, there = pair
    job_id = uuid4()
    async with there.subscribe(job_id=job_id) as listening:
        lines = database(here).pipeline(transaction=False)
        for _ in range(15_000):
            lines.xadd(STREAM, {"from": b"another", "hints": pack([hint()])})
        await lines.execute()
        await carried(here, listening, job_id)
        # Redis trims whole blocks of a hundred.
        assert 9_000 < await database(here).xlen(STREAM) <= 10_200


async def test_hints_are_gathered(pair: tuple[RedisEvents, RedisEvents]) -> None:
    """Many at once make few entries: a large job does not flood the Redis."""
    here, there = pair
    job_id = uuid4()
    async with there.subscribe(job_id=job_id) as listening:
        for _ in range(5_000):
            here.publish(hint(job_id))
        await heard(listening, 5_000)
        assert await database(here).xlen(STREAM) < 20


async def test_what_is_told_again_while_it_is_sent(pair: tuple[RedisEvents, RedisEvents]) -> None:
    """The second comes after what it tells of: the first, which is on its way, does not stand for it."""
    here, there = pair
    told = hint()
    add = database(here).xadd
    sent = 0

    async def slow(*values: Any, **named: Any) -> Any:
        nonlocal sent
        sent += 1
        answer = await add(*values, **named)
        if sent == 1:
            here.publish(told)
        return answer

    database(here).xadd = slow
    async with there.subscribe(job_id=told.job_id) as listening:
        here.publish(told)
        assert await heard(listening, 1) == {told}
        await eventually(lambda: sent >= 2, SOON)


async def test_what_waits_is_bounded(own_server: RedisServer, pair: tuple[RedisEvents, RedisEvents]) -> None:
    """While the Redis is away hints are dropped at a limit, and the process's own listeners hear all the same."""
    here, _ = pair
    job_id = uuid4()
    own_server.pause()
    try:
        async with here.subscribe(job_id=job_id) as local:
            for _ in range(50_000):
                here.publish(hint(job_id))
            assert len(await local.wait(0)) == 50_000
            assert len(here._waiting) == 20_000
    finally:
        own_server.resume()


async def test_what_is_not_known_is_left_out(pair: tuple[RedisEvents, RedisEvents]) -> None:
    """A newer release may tell more: listeners take what they know."""
    here, there = pair
    known = hint()
    newer = known.job_id.bytes + bytes(16) + b"?"
    async with there.subscribe(job_id=known.job_id) as listening:
        for fields in (
            {"from": b"another", "hints": newer + pack([known]) + b"torn"},
            {"from": b"another"},
            {"something": b"else"},
        ):
            await database(here).xadd(STREAM, fields)
        assert await heard(listening, 1) == {known}


async def test_a_worker_hears_of_jobs_only(own_server: RedisServer) -> None:
    """What the tasks of others do is not its concern, and it is spared them: only what jobs are told arrives."""
    url = own_server.fresh_url()
    here, worker = RedisEvents(url), RedisEvents(url, of_tasks=False)
    for end in (here, worker):
        await end.start()
    try:
        of_job = hint(of_task=False)
        async with worker.subscribe(job_id=of_job.job_id) as all_of_it, worker.subscribe_jobs() as jobs:
            here.publish(hint(of_job.job_id))
            # Sent by itself, and not together with the other.
            await here._idle.wait()
            here.publish(of_job)
            assert await heard(jobs, 1) == {of_job}
            assert await all_of_it.wait(0.1) == {of_job}
    finally:
        for end in (here, worker):
            await end.close()


_OTHER_PROCESS = """
import asyncio, os, uuid
from testum.events.base import Change, Hint
from testum.events.redis import RedisEvents

async def main():
    events = RedisEvents(os.environ["URL"])
    await events.start()
    job_id = uuid.UUID(os.environ["JOB"])
    async with events.subscribe(job_id=job_id) as listening:
        print("listening", flush=True)
        number = 0
        while number < 100:
            number += len(await listening.wait(10))
    for number in range(100):
        events.publish(Hint(job_id, uuid.uuid4(), Change.OUTPUT))
    await events.close()

asyncio.run(main())
"""


async def test_a_process_of_its_own(own_server: RedisServer) -> None:
    url, job_id = own_server.fresh_url(), uuid4()
    events = RedisEvents(url)
    await events.start()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", _OTHER_PROCESS],
            env={**os.environ, "URL": url, "JOB": str(job_id)},
            stdout=subprocess.PIPE,
        ) as other:
            try:
                assert other.stdout is not None
                assert await asyncio.to_thread(other.stdout.readline) == b"listening\n"
                told = {hint(job_id) for _ in range(100)}
                for published in told:
                    events.publish(published)
                async with events.subscribe(job_id=job_id) as listening:
                    answered = await heard(listening, 100)
                assert len(answered) == 100 and not answered & told
                assert await asyncio.to_thread(other.wait, SOON) == 0
            finally:
                other.kill()
    finally:
        # What listens is not ended by the loop's end: redis-py may take its cancellation for a timeout.
        await events.close()


@pytest.mark.parametrize("what", ["password", "port", "address"])
async def test_a_server_that_cannot_be_used(own_server: RedisServer, what: str) -> None:
    """It stops the start with one line that names the setting, and never with the password."""
    url = {
        "password": own_server.url(password="not-the-password"),
        "port": f"redis://:not-the-password@127.0.0.1:{free_port()}/0",
        "address": "postgres://:not-the-password@127.0.0.1/0",
    }[what]
    with pytest.raises(ConfigurationError, match=r"^REDIS_URL: ") as caught:
        await RedisEvents(url).start()
    assert "not-the-password" not in caught.value.message and "\n" not in caught.value.message


def test_packing() -> None:
    told = [hint(), hint(of_task=False)]
    assert list(unpack(pack(told))) == told
    assert list(unpack(b"")) == []
