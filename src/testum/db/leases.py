"""Leases: which running tasks are whose, for how long, and taking them over."""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.states import TaskStatus
from testum.db.bulk import BY_ID, chunks
from testum.db.tasks import Task


class Lease(NamedTuple):
    """A running task and its owner's lease. `end` is there to be compared: each renewal changes it. When it comes no clock
    says that may have been set since."""

    id: UUID
    job_id: UUID
    worker: str | None
    fence: int
    end: dt.datetime | None


async def of_running(session: AsyncSession) -> list[Lease]:
    """The leases of all running tasks, by job and id."""
    rows = await session.execute(
        select(Task.id, Task.job_id, Task.worker_id, Task.fence, Task.lease_expires_at)
        .where(Task.status == TaskStatus.RUNNING)
        .order_by(Task.job_id, Task.id)
    )
    return [Lease(*row) for row in rows]


async def renew(session: AsyncSession, worker: str, ids: Sequence[UUID], lease: dt.datetime) -> list[UUID]:
    """The worker lives: the leases of these tasks now end at `lease`. Those that are not its own any more are
    returned."""
    # In the order of ids, as everybody else locks them.
    ids = sorted(ids, key=BY_ID)
    kept: set[UUID] = set()
    for chunk in chunks(ids):
        kept.update(
            await session.scalars(
                update(Task)
                .where(Task.id.in_(chunk), Task.status == TaskStatus.RUNNING, Task.worker_id == worker)
                .values(lease_expires_at=lease)
                .returning(Task.id)
                .execution_options(synchronize_session=False)
            )
        )
    return [task_id for task_id in ids if task_id not in kept]


async def take_over(
    session: AsyncSession, task: Lease, *, worker: str, lease: dt.datetime
) -> tuple[int, bool] | None:
    """Take a task from its owner, who can write nothing about it any more, and send nothing of it; the new fence is
    returned, and whether nothing was sent, or None where the lease is not as it was: its owner turned out to live, or
    another was quicker."""
    fence = task.fence + 1
    unsent = await session.scalar(
        update(Task)
        .where(
            Task.id == task.id,
            Task.fence == task.fence,
            Task.status == TaskStatus.RUNNING,
            Task.lease_expires_at == task.end,
        )
        .values(fence=fence, worker_id=worker, lease_expires_at=lease)
        .returning(Task.unsent)
        .execution_options(synchronize_session=False)
    )
    return (fence, unsent) if unsent is not None else None
