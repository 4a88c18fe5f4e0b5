"""What every carrier of events does: within one process, and over Redis within one and between two."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest

from tests.support.redis import RedisServer
from tests.support.waiting import turns
from testum.events.base import Change, Events, Hint, Subscription
from testum.events.memory import MemoryEvents
from testum.events.redis import RedisEvents

SOON = 10.0
"""Seconds that no event takes, however busy the machine is."""


@dataclass(frozen=True)
class Ends:
    """Where is published and where is heard: the same, or in two processes."""

    here: Events
    there: Events


@pytest.fixture(params=["memory", "redis", "redis between two"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    if request.param == "memory":
        one: Events = MemoryEvents()
        made = Ends(one, one)
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.fresh_url()
        one = RedisEvents(url)
        made = Ends(one, RedisEvents(url) if "two" in request.param else one)
    for end in {made.here, made.there}:
        await end.start()
    yield made
    for end in {made.here, made.there}:
        await end.close()


def hint(job_id: UUID | None = None, *, of_task: bool = True, change: Change = Change.OUTPUT) -> Hint:
    return Hint(job_id or uuid4(), uuid4() if of_task else None, change)


async def heard(subscription: Subscription, number: int) -> set[Hint]:
    """So many hints, and no more than what came with the last of them."""
    found: set[Hint] = set()
    async with asyncio.timeout(SOON):
        while len(found) < number:
            found |= await subscription.wait(SOON)
    return found


async def nothing_more(ends: Ends, subscription: Subscription, job_id: UUID) -> set[Hint]:
    """What is heard up to a last hint, which all that were published before it precede; without that one."""
    last = hint(job_id, of_task=False, change=Change.STATUS)
    async with ends.there.subscribe(job_id=job_id) as witness:
        ends.here.publish(last)
        await heard(witness, 1)
    return await subscription.wait(0) - {last}


async def test_a_task_is_heard_by_its_own_and_its_jobs_listeners(ends: Ends) -> None:
    told = hint()
    sibling, stranger = hint(told.job_id), hint()
    async with (
        ends.there.subscribe(task_id=told.task_id) as of_task,
        ends.there.subscribe(job_id=told.job_id) as of_job,
        ends.there.subscribe_jobs() as of_all,
    ):
        for published in (told, sibling, stranger):
            ends.here.publish(published)
        assert await heard(of_job, 2) == {told, sibling}
        assert await heard(of_task, 1) == {told}
        assert await nothing_more(ends, of_task, uuid4()) == set()
        # Of jobs themselves there was the one above, and of tasks none.
        assert {found.task_id for found in await of_all.wait(0)} == {None}


async def test_a_job_is_heard_by_its_listeners_and_those_of_all(ends: Ends) -> None:
    told, other = (hint(of_task=False, change=Change.STATUS) for _ in range(2))
    async with (
        ends.there.subscribe(job_id=told.job_id) as of_job,
        ends.there.subscribe_jobs() as of_all,
        ends.there.subscribe(task_id=uuid4()) as of_task,
    ):
        ends.here.publish(told)
        ends.here.publish(other)
        assert await heard(of_all, 2) == {told, other}
        assert await heard(of_job, 1) == {told}
        assert await of_task.wait(0) == set()


async def test_changes_are_told_apart(ends: Ends) -> None:
    output = hint()
    status = Hint(output.job_id, output.task_id, Change.STATUS)
    async with ends.there.subscribe(task_id=output.task_id) as listening:
        ends.here.publish(output)
        assert await heard(listening, 1) == {output}
        ends.here.publish(status)
        assert await heard(listening, 1) == {status}


async def test_everything_after_subscribing_is_heard(ends: Ends) -> None:
    """Also the first thing, at once: who subscribes and then looks misses nothing."""
    for _ in range(30):
        told = hint()
        async with ends.there.subscribe(task_id=told.task_id) as listening:
            ends.here.publish(told)
            assert await heard(listening, 1) == {told}


async def test_each_listener_hears_for_itself_until_it_leaves(ends: Ends) -> None:
    job_id = uuid4()
    first, second = hint(job_id), hint(job_id)
    async with ends.there.subscribe(job_id=job_id) as stays:
        async with ends.there.subscribe(job_id=job_id) as leaves:
            ends.here.publish(first)
            assert await heard(leaves, 1) == await heard(stays, 1) == {first}
        ends.here.publish(second)
        assert await heard(stays, 1) == {second}
        assert await leaves.wait(0) == set()


async def test_a_slow_listener_holds_each_change_once(ends: Ends) -> None:
    job_id = uuid4()
    told = [hint(job_id, change=change) for change in Change for _ in range(50)]
    async with ends.there.subscribe(job_id=job_id) as slow:
        for _ in range(200):
            for published in told:
                ends.here.publish(published)
            await turns()
        assert await nothing_more(ends, slow, job_id) == set(told)
        assert await slow.wait(0) == set(), "what was heard is not heard again"


async def test_waiting_ends_with_its_time(ends: Ends) -> None:
    async with ends.there.subscribe(task_id=uuid4()) as listening:
        begun = time.monotonic()
        assert await listening.wait(0.2) == set()
        assert 0.15 < time.monotonic() - begun < SOON


async def test_a_wait_that_is_cancelled_loses_nothing(ends: Ends) -> None:
    told = hint()
    async with ends.there.subscribe(task_id=told.task_id) as listening:
        waiting = asyncio.create_task(listening.wait(SOON))
        await turns()
        ends.here.publish(told)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await heard(listening, 1) == {told}


async def test_thousands_of_listeners(ends: Ends) -> None:
    """As many tasks as a large job has, each watched, and each heard by its own watcher."""
    told = [hint() for _ in range(2000)]
    async with asyncio.timeout(3 * SOON):
        contexts = [ends.there.subscribe(task_id=published.task_id) for published in told]
        listening = [await context.__aenter__() for context in contexts]
        for published in told:
            ends.here.publish(published)
        for subscription, published in zip(listening, told, strict=True):
            assert await heard(subscription, 1) == {published}
        for context in contexts:
            await context.__aexit__(None, None, None)


async def test_publishing_never_waits(ends: Ends) -> None:
    job_id = uuid4()
    async with ends.there.subscribe(job_id=job_id) as listening:
        begun = time.monotonic()
        for _ in range(10_000):
            ends.here.publish(hint(job_id))
        # A million a minute, on any machine: it is a call and no wait.
        assert time.monotonic() - begun < 5
        assert await heard(listening, 10_000)


async def test_they_are_carried_now(ends: Ends) -> None:
    await ends.here.check()
    await ends.there.check()


async def test_closing_sends_what_waits(ends: Ends) -> None:
    told = hint()
    async with ends.there.subscribe(task_id=told.task_id) as listening:
        ends.here.publish(told)
        await ends.here.close()
        assert await heard(listening, 1) == {told}
        ends.here.publish(told)  # after it, too, nothing is raised
