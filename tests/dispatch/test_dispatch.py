"""What every dispatcher does: in this process, and over Celery."""

import asyncio
import time
from uuid import uuid4

import pytest

from tests.dispatch.conftest import SOON, Bench, Local, Remote, until_brought, work
from tests.support.waiting import eventually, turns
from testum.dispatch.celery import CeleryDispatcher


async def test_a_job_is_brought_to_who_works(bench: Bench) -> None:
    submitted = work()
    await bench.dispatcher.submit(submitted)
    await until_brought(bench, submitted.job_id)


async def test_many_jobs_at_once(bench: Bench) -> None:
    submitted = [work() for _ in range(150)]
    await asyncio.gather(*(bench.dispatcher.submit(one) for one in submitted))
    await until_brought(bench, *(one.job_id for one in submitted))


async def test_submitting_does_not_wait_for_the_work(bench: Bench) -> None:
    """Whoever asked for the job gets an answer at once, however long it takes and whatever waits before it."""
    begun = time.monotonic()
    # No more than a queue may hold before the sweep's messages are left out: later tests send some.
    for _ in range(50):
        await bench.dispatcher.submit(work(concurrency=2, default=10_000))
    assert time.monotonic() - begun < 20


async def test_submitting_again_is_harmless(bench: Bench) -> None:
    job_id = uuid4()
    for again in (False, False, True, True):
        await bench.dispatcher.submit(work(job_id, again=again))
    await until_brought(bench, job_id)
    if isinstance(bench, Local):
        bench.gate.set()
        await eventually(lambda: not bench.running and len(bench.jobs) >= 2)
        # What came while it ran is looked at once more, and never beside it.
        assert (bench.jobs.count(job_id), bench.most_at_once) == (2, 1)


async def test_a_job_that_is_brought_again_later(bench: Bench) -> None:
    """The sweep sends what is left to do: to be brought once is not to be brought for ever."""
    job_id = uuid4()
    await bench.dispatcher.submit(work(job_id))
    await until_brought(bench, job_id)
    if isinstance(bench, Local):
        bench.gate.set()
    before = list(await bench.brought()).count(job_id)
    await bench.dispatcher.submit(work(job_id, again=True))

    async def again() -> bool:
        return list(await bench.brought()).count(job_id) != before

    await eventually(again, SOON)


async def test_a_question_is_answered_to_whoever_asked_it(bench: Bench) -> None:
    asked = [f"что {number}" for number in range(10)]
    told = await asyncio.gather(*(bench.dispatcher.ask("default", one, SOON) for one in asked))
    assert told == [f"{one}!" for one in asked]


async def test_a_question_is_waited_for_so_long_and_no_longer(bench: Bench) -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        await bench.dispatcher.ask("default", "hard", 1)
    assert 0.9 < time.monotonic() - begun < 6
    assert await bench.dispatcher.ask("default", "easy", SOON) == "easy!"


async def test_nothing_is_to_be_done(bench: Bench) -> None:
    """A job whose tasks were all taken meanwhile."""
    from testum.dispatch.base import Work

    await bench.dispatcher.submit(Work(uuid4(), 4, {}))
    following = work()
    await bench.dispatcher.submit(following)
    await until_brought(bench, following.job_id)


async def test_it_can_be_sent_now(bench: Bench) -> None:
    await bench.dispatcher.check()


async def test_closing_with_things_in_flight(bench: Bench) -> None:
    submitted = [work() for _ in range(20)]
    for one in submitted:
        await bench.dispatcher.submit(one)
    if isinstance(bench, Local):
        await until_brought(bench, *(one.job_id for one in submitted))
        asyncio.get_running_loop().call_later(0.1, bench.gate.set)
    begun = time.monotonic()
    await bench.dispatcher.close()
    assert time.monotonic() - begun < 30
    await until_brought(bench, *(one.job_id for one in submitted))
    if isinstance(bench, Local):
        assert bench.running == [], "the loops have ended when it is closed"


async def test_nothing_is_sent_after_closing(bench: Bench) -> None:
    """It is not raised either: the row stays, and another process's sweep sends it."""
    if isinstance(bench, Local):
        bench.gate.set()
    await bench.dispatcher.close()
    late = work()
    await bench.dispatcher.submit(late)
    if isinstance(bench, Remote):
        # What another sends now comes after it.
        following, other = work(), CeleryDispatcher(bench.broker)
        await other.submit(following)
        await until_brought(bench, following.job_id)
        await other.close()
    await turns(3)
    assert late.job_id not in await bench.brought()
    await bench.dispatcher.close()


@pytest.mark.parametrize("bench", ["local"], indirect=True)
async def test_a_job_that_fails_hinders_no_other(bench: Local) -> None:
    broken, whole = work(), work()
    run = bench.dispatcher._loops._run  # type: ignore[attr-defined]

    async def run_or_fail(job_id: object) -> None:
        await run(job_id)
        if job_id == broken.job_id:
            raise RuntimeError("as a mistake in the code would")

    from testum.dispatch.local import LocalDispatcher

    dispatcher = LocalDispatcher(run_or_fail, bench._answer)
    bench.gate.set()
    for number in range(1, 3):
        await dispatcher.submit(broken)
        await dispatcher.submit(whole)
        both = [broken.job_id, whole.job_id] * number
        await eventually(lambda both=both: sorted(bench.jobs) == sorted(both) and not bench.running)
        await turns(3)
    await dispatcher.close()
    assert bench.jobs.count(broken.job_id) == bench.jobs.count(whole.job_id) == 2
