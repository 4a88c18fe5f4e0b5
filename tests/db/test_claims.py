"""Who may do what, when many want it at once: claims, fences, leases, duties and positions on every database."""

import asyncio
import datetime as dt
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError

from tests.db.conftest import add_job
from tests.support.waiting import eventually, lag, turns
from testum.core.frames import Stream
from testum.core.positions import Sequencer
from testum.core.states import JobStatus, TaskStatus
from testum.db import duties, jobs, leases, tasks, workers
from testum.db.audit import AuditLog
from testum.db.base import utc_now
from testum.db.claims import Claim
from testum.db.duties import DutyRecord
from testum.db.jobs import Job
from testum.db.leases import Lease
from testum.db.positions import ProcessPositions, StoredPositions
from testum.db.results import Remains, Result
from testum.db.session import Database, lease_now
from testum.db.tasks import Task
from testum.events.memory import MemoryEvents
from testum.execution.leases import LeaseObserver
from testum.execution.ledger import Ledger, Wanted
from testum.output.base import TakenOver

LEASE = dt.timedelta(seconds=30)


def ledger_of(database: Database, worker: str, *, lease_seconds: float = 30) -> Ledger:
    return Ledger(
        database, StoredPositions(database), MemoryEvents(), worker=worker, lease_seconds=lease_seconds
    )


async def task_of(database: Database, task_id: UUID) -> Task:
    async with database.read() as session:
        return await session.get_one(Task, task_id)


async def claim_one(database: Database, worker: str = "first", *, lease_seconds: float = 30) -> Claim:
    """A job's one task, claimed."""
    ledger = ledger_of(database, worker, lease_seconds=lease_seconds)
    claimed = await ledger.claim(Wanted(await add_job(database, 1), 1))
    return claimed.claims[0]


def result_of(claim: Claim, status: TaskStatus = TaskStatus.SUCCESS, *, fence: int | None = None) -> Result:
    return Result(claim.id, claim.job_id, fence or claim.fence, status, exit_code=0, stdout="done")


# -- claims --------------------------------------------------------------------------------------------------


async def test_each_task_is_claimed_by_one(processes: list[Database]) -> None:
    """Eight workers that want all they can get; no task goes to two, and none is left."""
    job_id = await add_job(processes[0], 200, concurrency=1000)
    chance = random.Random(5)

    async def work(number: int) -> list[UUID]:
        ledger, mine = ledger_of(processes[number % 4], f"worker-{number}"), []
        while True:
            claimed = await ledger.claim(Wanted(job_id, chance.randrange(1, 9)))
            if not claimed.claims:
                return mine
            mine += [claim.id for claim in claimed.claims]
            await turns()

    taken = await asyncio.gather(*(work(number) for number in range(8)))
    times = Counter(task_id for mine in taken for task_id in mine)
    assert len(times) == 200 and set(times.values()) == {1}
    async with processes[0].read() as session:
        rows = list(await session.scalars(select(Task)))
        job = await session.get_one(Job, job_id)
    owner = {task_id: f"worker-{number}" for number, mine in enumerate(taken) for task_id in mine}
    assert {row.id: row.worker_id for row in rows} == owner
    assert {(row.status, row.fence) for row in rows} == {(TaskStatus.RUNNING, 1)}
    assert len({row.started_position for row in rows}) == 200, (
        "each has a place of its own in the job's order"
    )
    assert (job.status, job.started_at is not None) == (JobStatus.RUNNING, True)


async def test_a_jobs_concurrency_holds_over_all_workers(processes: list[Database]) -> None:
    job_id = await add_job(processes[0], 60, concurrency=5)
    most = 0

    async def work(number: int) -> int:
        nonlocal most
        ledger, done = ledger_of(processes[number % 4], f"worker-{number}"), 0
        while True:
            claimed = await ledger.claim(Wanted(job_id, 3))
            async with processes[number % 4].read() as session:
                found = (await jobs.counts(session, await jobs.get_many(session, [job_id])))[job_id]
            most = max(most, found.get(TaskStatus.RUNNING, 0))
            if not claimed.claims:
                if not found.get(TaskStatus.PENDING):
                    return done
                await lag(0.01)
            for claim in claimed.claims:
                await ledger.finish(result_of(claim))
                done += 1

    assert sum(await asyncio.gather(*(work(number) for number in range(6)))) == 60
    assert 1 <= most <= 5
    async with processes[0].read() as session:
        job = await session.get_one(Job, job_id)
    assert job.status == JobStatus.SUCCESS and job.finished_at is not None


async def test_a_jobs_concurrency_holds_over_all_loops_of_a_worker(database: Database) -> None:
    """Two zones of one job in one process, in one transaction and in two."""
    job_id = await add_job(database, 4, concurrency=3, zone="default")
    ledger = ledger_of(database, "worker")
    wanted = Wanted(job_id, 2, zones=["default"])
    both = await asyncio.gather(ledger.claim(wanted), ledger.claim(wanted))
    taken = [claim for claimed in both for claim in claimed.claims]
    assert len(taken) == 3
    assert not (await ledger.claim(wanted)).claims
    # What has ended makes room as soon as it waits to be written.
    writing = asyncio.create_task(ledger.finish(result_of(taken[0])))
    await turns()
    assert len((await ledger.claim(wanted)).claims) == 1
    await writing


async def test_a_result_that_the_database_refuses(database: Database) -> None:
    """It is the others' no concern; the task it is of ends all the same, and nobody keeps it alive."""
    job_id = await add_job(database, 3, concurrency=3)
    ledger = ledger_of(database, "worker")
    claimed = (await ledger.claim(Wanted(job_id, 3))).claims
    results = [result_of(claim) for claim in claimed]
    results[1].details = {"not": object()}
    results[1].output_bytes = 7
    await asyncio.gather(*(ledger.finish(result) for result in results))
    rows = [await task_of(database, claim.id) for claim in claimed]
    assert [row.status for row in rows] == [TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.SUCCESS]
    assert (rows[1].error_code, rows[1].output_bytes, rows[1].details) == ("internal", 7, {})
    async with database.read() as session:
        assert (await session.get_one(Job, job_id)).status == JobStatus.FAILED
    assert await ledger.renew() == [] and not ledger._held


async def test_a_result_that_nothing_can_be_made_of(database: Database) -> None:
    """Then its lease runs out, as if its worker had died: it is not renewed for ever."""
    ledger = ledger_of(database, "worker")
    claim = (await ledger.claim(Wanted(await add_job(database, 1), 1))).claims[0]
    result = result_of(claim)
    result.output_frames = object()  # type: ignore[assignment]
    with pytest.raises(SQLAlchemyError):
        await ledger.finish(result)
    assert not ledger._held
    assert (await task_of(database, claim.id)).status == TaskStatus.RUNNING


async def test_only_what_is_in_ones_zone(database: Database) -> None:
    job_id = await add_job(database, 3, zone="dmz")
    ledger = ledger_of(database, "here")
    assert not (await ledger.claim(Wanted(job_id, 9, zones=["default", "lab"]))).claims
    assert len((await ledger.claim(Wanted(job_id, 9, zones=["lab", "dmz"]))).claims) == 3


async def test_nothing_of_a_job_that_was_cancelled(database: Database) -> None:
    job_id = await add_job(database, 3)
    async with database.write() as session:
        await session.execute(update(Job).values(cancel_requested_at=dt.datetime.now(dt.UTC)))
    claimed = await ledger_of(database, "here").claim(Wanted(job_id, 9))
    assert (claimed.claims, claimed.more) == ((), False)


# -- fences and leases ---------------------------------------------------------------------------------------


async def take_over(
    database: Database, worker: str, seen: Sequence[Lease] | None = None
) -> list[tuple[int, bool]]:
    """Take over all that runs (or was seen to run), as who has seen all leases run out does; the new fences, and whether
    nothing was sent."""
    async with database.write() as session:
        lease = await lease_now(session) + LEASE
        gone = await leases.of_running(session) if seen is None else seen
        await turns()
        fences = [await leases.take_over(session, one, worker=worker, lease=lease) for one in gone]
    return [fence for fence in fences if fence is not None]


async def test_of_many_that_take_over_one_does(processes: list[Database]) -> None:
    claim = await claim_one(processes[0])
    async with processes[0].read() as session:
        seen = await leases.of_running(session)
    fences = await asyncio.gather(
        *(take_over(database, f"heir-{n}", seen) for n, database in enumerate(processes * 2))
    )
    assert sorted(fences) == [[]] * 7 + [[(2, True)]]
    assert (await task_of(processes[0], claim.id)).fence == 2


async def test_what_was_seen_before_another_took_over_counts_no_more(database: Database) -> None:
    claim = await claim_one(database)
    async with database.write() as session:
        now = await lease_now(session)
        (seen,) = await leases.of_running(session)
        fences = [
            await leases.take_over(session, seen, worker=worker, lease=now + LEASE)
            for worker in ("second", "third")
        ]
    assert fences == [(2, True), None] and (await task_of(database, claim.id)).worker_id == "second"


async def test_an_owner_that_lost_its_task_changes_nothing(database: Database) -> None:
    """Neither by its result, nor by saying that it lives; before and after the end that another wrote."""
    late = ledger_of(database, "first", lease_seconds=0.1)
    claim = (await late.claim(Wanted(await add_job(database, 1), 1))).claims[0]
    assert await take_over(database, "second") == [(2, True)]
    before = await task_of(database, claim.id)
    assert await late.renew() == [claim.id], "it is told that it lost it"
    await late.finish(result_of(claim))
    same = await task_of(database, claim.id)
    assert (same.status, same.worker_id, same.fence, same.stdout) == (TaskStatus.RUNNING, "second", 2, None)
    assert same.lease_expires_at == before.lease_expires_at
    heir = ledger_of(database, "second")
    await heir.finish(result_of(claim, TaskStatus.LOST, fence=2))
    ended = await task_of(database, claim.id)
    async with database.read() as session:
        job = await session.get_one(Job, claim.job_id)
    # Nor does what came of an attempt that sent nothing: it says nothing of the one that was lost.
    await late.finish(replace(result_of(claim), sent=False))
    await heir.finish(result_of(claim, TaskStatus.LOST, fence=2))
    again = await task_of(database, claim.id)
    for column in Task.__table__.columns:
        name = "details" if column.name == "metadata" else column.name
        assert getattr(again, name) == getattr(ended, name), name
    async with database.read() as session:
        assert (await session.get_one(Job, claim.job_id)).status == job.status == JobStatus.FAILED


async def test_nothing_is_sent_by_who_lost_its_task(database: Database) -> None:
    late = ledger_of(database, "first")
    claim = (await late.claim(Wanted(await add_job(database, 1), 1))).claims[0]
    await late.sending(claim, "root@there:22")
    sent = await task_of(database, claim.id)
    assert (sent.unsent, sent.platform_address) == (False, "root@there:22")
    assert await take_over(database, "second") == [(2, False)]
    with pytest.raises(TakenOver):
        await late.sending(claim, "root@elsewhere:22")
    assert (await task_of(database, claim.id)).platform_address == "root@there:22"


async def test_what_was_not_sent_is_pending_again(database: Database) -> None:
    """As if it had never been claimed, also where it was about to be; but where its job was cancelled meanwhile, nobody
    would claim it again."""
    job_id = await add_job(database, 2)
    ledger = ledger_of(database, "first")
    first, second = (await ledger.claim(Wanted(job_id, 2))).claims
    await ledger.finish(result_of(first, TaskStatus.PENDING))
    back = await task_of(database, first.id)
    assert (back.status, back.worker_id, back.lease_expires_at) == (TaskStatus.PENDING, None, None)
    assert (back.started_at, back.started_position, back.finished_at) == (None, None, None)
    (again,) = (await ledger_of(database, "second").claim(Wanted(job_id, 2))).claims
    assert (again.id, again.fence) == (first.id, 2)
    await ledger.sending(second, "root@there:22")
    await ledger.finish(result_of(second, TaskStatus.PENDING))
    held_back = await task_of(database, second.id)
    assert (held_back.status, held_back.unsent) == (TaskStatus.PENDING, False), (
        "its owner knows that it was not sent"
    )

    async with database.write() as session:
        (await session.get_one(Job, job_id)).cancel_requested_at = utc_now()
    await ledger_of(database, "second").finish(result_of(again, TaskStatus.PENDING))
    assert (await task_of(database, first.id)).status == TaskStatus.CANCELLED


async def test_a_result_that_comes_late_is_the_lost_tasks_end(database: Database) -> None:
    """Its worker was taken for dead. Counts, the job, the times and the place in the order follow."""
    late = ledger_of(database, "first", lease_seconds=-1)
    job_id = await add_job(database, 1)
    claim = (await late.claim(Wanted(job_id, 1))).claims[0]
    await late.sending(claim, "root@there:22")
    assert await take_over(database, "second") == [(2, False)]
    lost = result_of(claim, TaskStatus.LOST, fence=2)
    lost.remains = Remains(to_be_ended=False)
    await ledger_of(database, "second").finish(lost)
    before = await task_of(database, claim.id)
    assert (before.status, before.may_still_run, before.look_at is not None) == (TaskStatus.LOST, True, True)
    # The clock was set back meanwhile.
    ahead = utc_now() + dt.timedelta(hours=1)
    async with database.write() as session:
        await session.execute(update(Task).values(started_at=ahead))
        await session.execute(update(Job).values(started_at=ahead))
    printed = [(Stream.STDOUT, b"done")]
    result = replace(result_of(claim), shown=b"", rest=printed, output_frames=1, output_bytes=4)
    await late.finish(result)
    task = await task_of(database, claim.id)
    assert (task.status, task.may_still_run, task.look_at) == (TaskStatus.SUCCESS, False, None)
    assert task.finished_position is not None and before.finished_position is not None
    assert task.finished_position > before.finished_position
    assert (task.stdout, task.output_bytes) == ("done", 4)
    async with database.read() as session:
        assert await tasks.frames_of(session, claim.id) == result.frames
        job = await session.get_one(Job, job_id)
        entries = list(await session.scalars(select(AuditLog).where(AuditLog.action == "task.settle")))
    assert (job.status, job.final_counts) == (JobStatus.SUCCESS, {"success": 1})
    assert task.finished_at == ahead == job.finished_at, "nothing ends before it began"
    assert [entry.object_id for entry in entries] == [str(claim.id)]


class Clock:
    """A steady clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_lease_has_run_out_for_who_saw_that(database: Database) -> None:
    """Not renewed for its length, by the clock of who looks; the one that leases are written by says nothing."""
    clock = Clock()
    observer = LeaseObserver(30, clock)
    ledger = ledger_of(database, "first", lease_seconds=-3600)
    (claim,) = (await ledger.claim(Wanted(await add_job(database, 1), 1))).claims

    async def look(after: float) -> list[UUID]:
        clock.now += after
        async with database.read() as session:
            return [lease.id for lease in observer.observe(await leases.of_running(session))]

    assert [await look(10) for _ in range(3)] == [[]] * 3, "by its end it is over"
    await ledger.renew()
    assert [await look(10) for _ in range(3)] == [[]] * 3
    assert await look(10) == [claim.id]
    assert await look(1) == [claim.id], "until somebody takes it over"
    assert await take_over(database, "second") == [(2, True)]
    assert await look(10) == []


async def test_who_could_not_look_begins_anew(database: Database) -> None:
    """After an outage of the database, and after it was stopped itself: others may have been, too."""
    clock = Clock()
    observer = LeaseObserver(30, clock)
    claim = await claim_one(database)
    async with database.read() as session:
        current = await leases.of_running(session)

    def look(after: float) -> list[UUID]:
        clock.now += after
        return [lease.id for lease in observer.observe(current)]

    assert [look(10) for _ in range(3)] == [[]] * 3
    observer.reset()
    assert [look(10) for _ in range(3)] == [[]] * 3
    assert look(10) == [claim.id]
    observer.reset()
    assert [look(0), look(3600), look(5), look(5)] == [[]] * 4
    assert look(10) == [claim.id]


async def test_a_lease_that_was_renewed_meanwhile_is_not_taken(database: Database) -> None:
    ledger = ledger_of(database, "first")
    await ledger.claim(Wanted(await add_job(database, 1), 1))
    async with database.read() as session:
        (seen,) = await leases.of_running(session)
    await ledger.renew()
    async with database.write() as session:
        now = await lease_now(session)
        assert await leases.take_over(session, seen, worker="second", lease=now + LEASE) is None
        (kept,) = await leases.of_running(session)
    assert (kept.worker, kept.fence) == ("first", 1)


async def test_a_renewed_lease_counts_from_now(database: Database) -> None:
    ledger = ledger_of(database, "first", lease_seconds=5)
    claim = (await ledger.claim(Wanted(await add_job(database, 1), 1))).claims[0]
    first = (await task_of(database, claim.id)).lease_expires_at

    async def now() -> dt.datetime:
        async with database.read() as session:
            return await lease_now(session)

    claimed = await now()

    async def later() -> bool:
        return await now() > claimed

    await eventually(later)
    assert await ledger.renew() == []
    renewed = await now()
    second = (await task_of(database, claim.id)).lease_expires_at
    assert first is not None and second is not None
    assert first < second <= renewed + dt.timedelta(seconds=5)


async def test_renewing_and_taking_over_at_once(processes: list[Database]) -> None:
    """Whoever is first: either the owner keeps the task, or it hears that it lost it."""
    for _ in range(6):
        ledger = ledger_of(processes[0], "first")
        claim = (await ledger.claim(Wanted(await add_job(processes[0], 1), 1))).claims[0]
        async with processes[0].read() as session:
            seen = [lease for lease in await leases.of_running(session) if lease.id == claim.id]
        lost, fences = await asyncio.gather(ledger.renew(), take_over(processes[1], "second", seen))
        assert (lost, fences) in (([claim.id], [(2, True)]), ([], [])), (lost, fences)
        async with processes[0].write() as session:
            await session.execute(update(Task).values(status=TaskStatus.LOST))


# -- duties --------------------------------------------------------------------------------------------------


async def claim_duty(database: Database, name: str = "sweep", seconds: float = 60) -> bool:
    async with database.write() as session:
        return await duties.claim(session, name, seconds)


async def test_of_many_at_once_one_gets_a_duty(processes: list[Database]) -> None:
    for round_ in range(5):
        got = await asyncio.gather(*(claim_duty(database) for database in processes * 5))
        assert sum(got) == 1, round_
        async with processes[0].read() as session:
            assert await duties.not_due(session, {"sweep": 60}) == {"sweep"}
        assert not await claim_duty(processes[1])
        async with processes[0].write() as session:
            due = await lease_now(session) - dt.timedelta(seconds=0.01)
            await session.execute(update(DutyRecord).values(due_at=due))
        async with processes[0].read() as session:
            assert await duties.not_due(session, {"sweep": 60}) == set()


async def test_a_duty_does_not_wait_for_a_clock_that_was_set_back(database: Database) -> None:
    assert await claim_duty(database)
    async with database.write() as session:
        ahead = await lease_now(session) + dt.timedelta(hours=1)
        await session.execute(update(DutyRecord).values(due_at=ahead))
    async with database.read() as session:
        assert await duties.not_due(session, {"sweep": 60}) == set()
    assert await claim_duty(database)
    assert not await claim_duty(database)


async def test_duties_are_apart(database: Database) -> None:
    assert [await claim_duty(database, name) for name in ("one", "two", "one")] == [True, True, False]


async def test_a_claim_that_was_taken_back_is_free(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.write() as session:
            assert await duties.claim(session, "sweep", 60)
            _ = 1 / 0
    assert await claim_duty(database)


# -- positions -----------------------------------------------------------------------------------------------


async def test_positions_are_given_once_and_in_the_order_of_commits(processes: list[Database]) -> None:
    job_id = await add_job(processes[0], 1)
    given: list[tuple[int, int]] = []

    async def reserve(number: int) -> None:
        positions = StoredPositions(processes[number % 4])
        for width in (1, 3, 2, 50):
            try:
                async with processes[number % 4].write() as session:
                    last = await positions.reserve(session, job_id, width)
                    if width == 2 and number % 2:
                        raise ZeroDivisionError
                    given.append((last - width, last))
            except ZeroDivisionError:
                continue
            mark = await positions.mark(job_id)
            assert mark >= last

    await asyncio.gather(*(reserve(number) for number in range(8)))
    assert given == sorted(given) and len(given) == 28
    for (_, before), (after, _) in itertools.pairwise(given):
        assert before <= after, "no position is given to two"
    assert await StoredPositions(processes[1]).mark(job_id) == given[-1][1]


async def test_a_position_is_a_time(database: Database) -> None:
    job_id = await add_job(database, 1)
    async with database.write() as session:
        position = await StoredPositions(database).reserve(session, job_id, 1)
        now = await lease_now(session)
    assert abs(tasks.moment(position) - now) < dt.timedelta(seconds=5)


async def test_positions_grow_though_the_clock_goes_back(database: Database) -> None:
    job_id = await add_job(database, 1)
    ahead = int(dt.datetime.now(dt.UTC).timestamp() * 1_000_000) + 3_600_000_000
    async with database.write() as session:
        await session.execute(update(Job).values(position=ahead))
    async with database.write() as session:
        assert await StoredPositions(database).reserve(session, job_id, 3) == ahead + 3


async def test_a_job_that_is_gone_gets_none(database: Database) -> None:
    async with database.write() as session:
        assert await StoredPositions(database).reserve(session, uuid4(), 5) == 0
    assert await StoredPositions(database).mark(uuid4()) == 0


# -- workers -------------------------------------------------------------------------------------------------


async def test_workers_are_known_while_they_are_heard_of(database: Database) -> None:
    for zones in (["default"], ["dmz", "lab"]):
        async with database.write() as session:
            await workers.beat(session, "-".join(zones), zones, "1.0")
            await workers.beat(session, "-".join(zones), zones, "1.0")
    async with database.read() as session:
        assert [(row.id, row.zones) for row in await workers.living(session, 5)] == [
            ("default", ["default"]),
            ("dmz-lab", ["dmz", "lab"]),
        ]
        assert await workers.living(session, -1) == []
    async with database.write() as session:
        await workers.leave(session, "default")
        await workers.forget(session, 5)
        assert [row.id for row in await workers.living(session, 5)] == ["dmz-lab"]
        await workers.forget(session, -1)
        assert await session.scalar(select(func.count()).select_from(workers.Worker)) == 0


# -- clocks that are set -----------------------------------------------------------------------------------------


async def test_times_are_by_the_clock_as_it_is(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions go on from the latest there was; what is shown does not wait for the clock to come there."""
    ahead, right = dt.datetime.now(dt.UTC) + dt.timedelta(days=2), utc_now

    def be(now: Callable[[], dt.datetime]) -> None:
        monkeypatch.setattr("testum.db.session.utc_now", now)

    sequencer = Sequencer(lambda: int(ahead.timestamp() * 1_000_000))
    ledger = Ledger(database, ProcessPositions(sequencer), MemoryEvents(), worker="first", lease_seconds=30)
    be(lambda: ahead)
    before = (await ledger.claim(Wanted(await add_job(database, 1), 1))).claims[0]
    be(right)
    after = (await ledger.claim(Wanted(await add_job(database, 1), 1))).claims[0]
    assert after.position > before.position
    for claim, took in ((before, 14.0), (after, 0.25)):
        await ledger.finish(replace(result_of(claim), duration=took))
        task = await task_of(database, claim.id)
        assert task.started_at is not None and task.finished_at is not None
        assert task.duration_seconds == took and task.started_at <= task.finished_at
    # The last one looked at is the one that began after the clock was right again.
    assert abs(utc_now() - task.started_at) < dt.timedelta(minutes=5)
    assert abs(utc_now() - task.finished_at) < dt.timedelta(minutes=5)
    async with database.read() as session:
        job = await session.get_one(Job, before.job_id)
    assert job.started_at is not None and job.finished_at is not None and job.started_at <= job.finished_at
    # It began two days ahead, and took as long as this test.
    if database.url.startswith("sqlite"):
        assert job.duration_seconds is not None and 0 < job.duration_seconds < 60
    await ledger.close()
