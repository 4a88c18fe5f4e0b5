"""What may still be at work on hosts though its task is over: who is to look for it, and what was found
(docs/decisions/0028)."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import and_, bindparam, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.frames import encode_row
from testum.core.states import TaskStatus
from testum.db import jobs, segments
from testum.db.audit import AuditLog
from testum.db.base import insert_into
from testum.db.bulk import chunks
from testum.db.claims import ENDING_WIDTH
from testum.db.jobs import Job
from testum.db.results import Result
from testum.db.session import database_now
from testum.db.tasks import LOOKED_FOR, REMAINING, Task, TaskOutput

_LOOKING = dt.timedelta(minutes=2)
"""Who has taken a look on is given so long. Then others may look, too."""
LOOKED_SO_FAR = "looked_for"
"""In `termination` of a task's details: the seconds between its end and the last look."""
_AHEAD, _AHEAD_AT_FIRST = dt.timedelta(hours=2), dt.timedelta(minutes=5)
_AT_FIRST = 1200.0
"""No look is planned so far ahead, and of what was looked for over fewer seconds none so far. One that seems to be was
planned before the clock was set back."""


class Remaining(NamedTuple):
    """An ended task of which something may still be at work. `attempt`: its place among the job's events, which no other
    claim of it has. `cancelled`: its job was cancelled."""

    id: UUID
    job_id: UUID
    platform_id: UUID
    platform_address: str
    attempt: int | None
    started_at: dt.datetime | None
    finished_at: dt.datetime
    to_be_ended: bool
    boot_id: str | None
    details: dict[str, Any]
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found of a task: `details` go to the task's, `may_still_run` whether that is still open, and `again`
    when to look the next time, if ever."""

    of: Remaining
    details: dict[str, Any]
    may_still_run: bool = True
    again: dt.datetime | None = None
    boot_id: str | None = None


async def any_due(session: AsyncSession, zones: Sequence[str] | None) -> bool:
    """Whether there is anything to look for now in these network zones (None: all). It is asked all the time."""
    due = select(Task.id).where(*await _due(session, zones)).limit(1)
    return await session.scalar(due) is not None


async def _due(session: AsyncSession, zones: Sequence[str] | None) -> list[Any]:
    now = await database_now(session)
    looked_so_far = func.coalesce(Task.details["termination", LOOKED_SO_FAR].as_float(), 0.0)
    set_back = or_(
        Task.look_at > now + _AHEAD, and_(Task.look_at > now + _AHEAD_AT_FIRST, looked_so_far < _AT_FIRST)
    )
    due: list[Any] = [text(LOOKED_FOR.text), or_(Task.look_at <= now, set_back)]
    return due if zones is None else [*due, Task.zone.in_(zones)]


async def take_due(session: AsyncSession, *, zones: Sequence[str] | None, hosts: int) -> list[Remaining]:
    """All that is to be looked for on up to so many hosts, of which something is due; nobody else takes it meanwhile.
    `zones` are the network zones that can be reached (None: all)."""
    due = select(Task.platform_id).where(*await _due(session, zones))
    chosen = (
        await session.scalars(due.group_by(Task.platform_id).order_by(func.min(Task.look_at)).limit(hosts))
    ).all()
    if not chosen:
        return []
    rows = await session.execute(
        select(
            Task.id,
            Task.job_id,
            Task.platform_id,
            Task.platform_address,
            Task.started_position,
            Task.started_at,
            Task.finished_at,
            Task.to_be_ended,
            Task.boot_id,
            Task.details,
            Job.cancel_requested_at.is_not(None),
        )
        .join(Job, Job.id == Task.job_id)
        .where(text(LOOKED_FOR.text), Task.platform_id.in_(chosen))
        .order_by(Task.id)
        .with_for_update(of=Task, skip_locked=True)
    )
    taken = [Remaining(*row) for row in rows]
    for chunk in chunks([task.id for task in taken]):
        await session.execute(
            update(Task)
            .where(Task.id.in_(chunk))
            .values(look_at=await database_now(session) + _LOOKING)
            .execution_options(synchronize_session=False)
        )
    return taken


async def note(session: AsyncSession, looks: Sequence[Look]) -> None:
    """Write what was found. Where somebody has cancelled meanwhile what was only looked at, that stays to be done."""
    for look in sorted(looks, key=lambda look: look.of.id):
        values = {
            Task.details: {**look.of.details, **look.details},
            Task.may_still_run: look.may_still_run,
            Task.boot_id: look.boot_id or look.of.boot_id,
        }
        unchanged = and_(Task.may_still_run, Task.to_be_ended == look.of.to_be_ended)
        await session.execute(
            update(Task)
            .where(Task.id == look.of.id, unchanged)
            .values({**values, Task.look_at: look.again})
            .execution_options(synchronize_session=False)
        )


async def end_those(session: AsyncSession, job_id: UUID) -> int:
    """What may still run of the job's ended tasks is to be ended, as soon as somebody looks, which is now; how many tasks
    that are."""
    now = await database_now(session)
    result = await session.execute(
        update(Task)
        .where(Task.job_id == job_id, text(REMAINING.text))
        .values(to_be_ended=True, look_at=now)
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return len(result.all())


_COUNTS = (
    select(Task.job_id, func.count())
    .where(text(REMAINING.text), Task.job_id.in_(bindparam("jobs", expanding=True)))
    .group_by(Task.job_id)
)


async def counts(session: AsyncSession, job_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Of each of the jobs, how many ended tasks may still be at work; those that have some."""
    rows = await session.execute(_COUNTS, {"jobs": job_ids})
    return {row[0]: row[1] for row in rows}


async def settle_lost(session: AsyncSession, results: Sequence[Result]) -> list[Result]:
    """Write how lost tasks ended, as far as came to light later, and bring their jobs in line: by who was taken for dead and
    has their result, or by who found their command on the host and ended it. In the transaction that holds their jobs. The
    results that were written are returned; of the others, nobody is known to have sent the task, or it is not lost.

    Its output is whole then: a result brings what was not stored, because its worker was taken for dead.
    """
    given = {result.task_id: result for result in results if result.sent}
    written: list[Result] = []
    now = await database_now(session)
    for chunk in chunks(sorted(given)):
        found = await session.scalars(
            select(Task).where(Task.id.in_(chunk), Task.status == TaskStatus.LOST).with_for_update()
        )
        for task in found:
            result = given[task.id]
            if result.status is TaskStatus.LOST and "termination" not in result.details:
                continue
            task.details = {**task.details, **result.details}
            task.may_still_run = result.remains is not None
            task.to_be_ended = result.remains is not None and result.remains.to_be_ended
            task.look_at = now if result.remains and result.remains.look else None
            if result.status is not TaskStatus.LOST:
                task.status = result.status
                task.exit_code, task.exit_signal = result.exit_code, result.exit_signal
                task.error_code, task.error_message = result.error_code, result.error_message
                task.finished_position = result.position
                # The clock may have been set back since.
                task.finished_at = max(now, task.started_at or now)
                task.duration_seconds = result.duration
                await _settle_output(session, task, result)
                told = {"job_id": str(task.job_id), "before": TaskStatus.LOST, "after": result.status}
                session.add(
                    AuditLog(
                        user="testum",
                        action="task.settle",
                        object_type="task",
                        object_id=str(task.id),
                        meta=told,
                    )
                )
            written.append(result)
    await jobs.resettle(session, dict.fromkeys(result.job_id for result in written))
    return written


async def _settle_output(session: AsyncSession, task: Task, result: Result) -> None:
    """Add what was not stored of the output because the task had been taken over."""
    if task.output_expired_at is not None:
        return
    small = task.result_location is None and result.result_location is None
    if small and result.frames:
        connection = await session.connection()
        stored = insert_into(TaskOutput, connection).values(task_id=task.id, frames=result.frames)
        await connection.execute(
            stored.on_conflict_do_update(
                index_elements=[TaskOutput.task_id], set_={"frames": stored.excluded.frames}
            )
        )
    elif not small and result.rest:
        await _continue_output(session, task, result)
    else:
        return
    task.stdout, task.stderr = result.stdout, result.stderr
    task.output_frames, task.output_bytes = result.output_frames, result.output_bytes


async def _continue_output(session: AsyncSession, task: Task, result: Result) -> None:
    """Store what comes after the task's output, which is large now, in the journal: no other store has tasks that can be
    taken over."""
    row = partial(segments.row, task.id, task.job_id)
    start = (await segments.extent(session, task.id)).size
    small = await session.get(TaskOutput, task.id)
    if small is not None:
        if not start and small.frames:
            # Its segments were dropped as copies of these.
            shown = row(0, small.frames, frames=task.output_frames, last_position=result.position)
            await segments.add(session, [shown])
            start = len(small.frames)
        await session.delete(small)
    last = result.position - ENDING_WIDTH
    rest = row(start, encode_row(result.rest, last), frames=len(result.rest), last_position=last)
    await segments.add(session, [rest])
    task.result_location = task.result_location or result.result_location


class Unsure(NamedTuple):
    """An ended task of which something may still be at work, as it is told of."""

    task_id: UUID
    job_id: UUID
    platform_id: UUID
    platform_name: str


async def like(session: AsyncSession, job: Job) -> list[Unsure]:
    """Of this job, and of all that do the same: the tasks of which something may still be at work."""
    rows = await session.execute(
        select(Task.id, Task.job_id, Task.platform_id, Task.platform_name, Job.parameters)
        .join(Job, Job.id == Task.job_id)
        .where(text(REMAINING.text), Job.type == job.type)
        .order_by(Task.job_id, Task.ordinal)
    )
    return [Unsure(*row[:4]) for row in rows if row.job_id == job.id or row.parameters == job.parameters]
