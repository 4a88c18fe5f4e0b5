"""What may still be at work on hosts though its task is over: who is to look for it, and what was found
(docs/decisions/0028)."""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import and_, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from testum.db.jobs import Job
from testum.db.many import chunks
from testum.db.session import database_now
from testum.db.tasks import LOOKED_FOR, REMAINING, Task

_LOOKING = dt.timedelta(minutes=2)
"""Who has taken a look on is given so long. Then others may look, too."""
_AHEAD = dt.timedelta(hours=2)
"""No look is planned so far ahead. One that seems to be was planned before the clock was set back."""


class Remaining(NamedTuple):
    """An ended task of which something may still be at work. `cancelled`: its job was cancelled."""

    id: UUID
    job_id: UUID
    platform_id: UUID
    platform_address: str
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


async def any_due(session: AsyncSession) -> bool:
    """Whether there is anything to look for now. It is asked all the time."""
    now = await database_now(session)
    due = select(Task.id).where(text(LOOKED_FOR.text), _due(now)).limit(1)
    return await session.scalar(due) is not None


def _due(now: dt.datetime) -> Any:
    return or_(Task.look_at <= now, Task.look_at > now + _AHEAD)


async def take_due(session: AsyncSession, *, zones: Sequence[str] | None, hosts: int) -> list[Remaining]:
    """All that is to be looked for on up to so many hosts, of which something is due; nobody else takes it meanwhile.
    `zones` are the network zones that can be reached (None: all)."""
    now = await database_now(session)
    due = select(Task.platform_id).where(text(LOOKED_FOR.text), _due(now))
    if zones is not None:
        due = due.where(Task.zone.in_(zones))
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
            .values(look_at=now + _LOOKING)
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


async def counts(session: AsyncSession, job_ids: Collection[UUID]) -> dict[UUID, int]:
    """Of each of the jobs, how many ended tasks may still be at work; those that have some."""
    rows = await session.execute(
        select(Task.job_id, func.count())
        .where(text(REMAINING.text), Task.job_id.in_(job_ids))
        .group_by(Task.job_id)
    )
    return {row[0]: row[1] for row in rows}


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
