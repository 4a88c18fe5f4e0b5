"""Output that has become old: which tasks have some, and the mark that it is gone."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from testum.db.session import database_now
from testum.db.tasks import OUTPUT_KEPT, Task, TaskOutput


async def expire(session: AsyncSession, age: dt.timedelta, limit: int) -> list[UUID]:
    """Take the output away from up to `limit` tasks that ended longer ago than that, the oldest first; they are
    returned. From the commit on nobody finds it, and whatever else keeps it may go."""
    now = await database_now(session)
    old = list(
        await session.scalars(
            select(Task.id)
            .where(Task.finished_at < now - age, OUTPUT_KEPT)
            .order_by(Task.finished_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )
    if old:
        await session.execute(
            update(Task)
            .where(Task.id.in_(old))
            .values(output_expired_at=now, stdout=None, stderr=None, result_location=None)
            .execution_options(synchronize_session=False)
        )
        await session.execute(delete(TaskOutput).where(TaskOutput.task_id.in_(old)))
    return old


async def stored_apart(session: AsyncSession, task_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the tasks whose output is to be found beside their rows: they run, or printed much."""
    found = await session.scalars(
        select(Task.id).where(
            Task.id.in_(task_ids),
            or_(Task.finished_at.is_(None), Task.result_location.is_not(None)),
        )
    )
    return set(found)
