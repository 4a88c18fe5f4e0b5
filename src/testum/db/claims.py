"""Claims: who may do a task, and how one ends that nobody has claimed (docs/decisions/0010)."""

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Interval,
    String,
    Update,
    Uuid,
    func,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from testum.core.states import TaskStatus
from testum.db.base import UtcDateTime
from testum.db.bulk import BY_ID, Given, UpdateEach, chunks
from testum.db.session import database_now, lease_now, on_sqlite
from testum.db.tasks import Task


class PendingTask(NamedTuple):
    """A task that nobody has claimed, as much as a claim needs."""

    id: UUID
    job_id: UUID
    platform_id: UUID
    platform_name: str
    fence: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do one task: what its owner needs, and the fence that proves the right."""

    id: UUID
    job_id: UUID
    platform_id: UUID
    platform_name: str
    fence: int
    position: int


ENDING_WIDTH = 2
"""Positions that a task's end takes: one for `error`, where there is one, and the last for `done`."""


def _claiming(lease_end: Callable[[Given], ColumnElement[Any]], lease: TypeEngine[Any]) -> UpdateEach:
    return UpdateEach(
        lambda given: (
            update(Task)
            .where(Task.id == given["of"], Task.status == TaskStatus.PENDING)
            .values(
                status=TaskStatus.RUNNING,
                worker_id=given["worker"],
                fence=given["new_fence"],
                lease_expires_at=lease_end(given),
                unsent=True,
                started_position=given["begun"],
                started_at=given["begun_at"],
                celery_task_id=given["message"],
            )
        ),
        of=Uuid(),
        worker=String(),
        new_fence=Integer(),
        lease=lease,
        begun=BigInteger(),
        begun_at=UtcDateTime(),
        message=String(),
    )


_CLAIM = _claiming(lambda given: func.clock_timestamp() + given["lease"], Interval())
_CLAIM_SQLITE = _claiming(lambda given: given["lease"], UtcDateTime())


async def claim(
    session: AsyncSession,
    tasks: Sequence[PendingTask],
    positions: Sequence[int],
    *,
    worker: str,
    lease: dt.timedelta,
    message: str | None,
) -> list[Claim]:
    """Take the tasks (from `jobs.pending_tasks`, in the same transaction): they are running from the commit on, and
    the worker's until `lease` from now, by the clock of leases (see session.lease_now). `message` is the id of
    the message that brought the work, where one did."""
    claims = [
        Claim(task.id, task.job_id, task.platform_id, task.platform_name, task.fence + 1, position)
        for task, position in zip(tasks, positions, strict=True)
    ]
    if claims:
        connection = await session.connection()
        now = await database_now(session)
        end = await lease_now(session) + lease if on_sqlite(session) else lease
        await (_CLAIM_SQLITE if on_sqlite(session) else _CLAIM).execute(
            connection,
            [
                {
                    "of": claim.id,
                    "worker": worker,
                    "new_fence": claim.fence,
                    "lease": end,
                    "begun": claim.position,
                    "begun_at": now,
                    "message": message,
                }
                for claim in claims
            ],
        )
    return claims


def of_owner(given: Given) -> Update:
    """An update of the task, if whoever has this fence owns it."""
    return update(Task).where(
        Task.id == given["of"], Task.fence == given["of_fence"], Task.status == TaskStatus.RUNNING
    )


_SEND = UpdateEach(
    lambda given: of_owner(given).values(unsent=False, platform_address=given["account"]),
    of=Uuid(),
    of_fence=Integer(),
    account=String(),
)


async def sending(session: AsyncSession, sent: Mapping[UUID, tuple[int, str]]) -> set[UUID]:
    """Write that the tasks are being sent, each by who has this fence, to this account of a host. Those that are not
    theirs any more are returned: they must not be sent."""
    connection = await session.connection()
    rows = [
        {"of": task_id, "of_fence": sent[task_id][0], "account": sent[task_id][1]}
        for task_id in sorted(sent, key=BY_ID)
    ]
    if await _SEND.execute(connection, rows) == len(rows):
        return set()
    return set(sent) - await owned(session, {task_id: fence for task_id, (fence, _) in sent.items()})


NEVER_BEGUN = "Cancelled before it began: nothing was run on the platform."
"""What is said of a task of which nothing was sent."""
_CANCEL = UpdateEach(
    lambda given: (
        update(Task)
        .where(
            Task.id == given["of"],
            Task.job_id == given["of_job"],
            Task.status == TaskStatus.PENDING,
        )
        .values(
            status=TaskStatus.CANCELLED,
            error_code="cancelled",
            error_message=NEVER_BEGUN,
            finished_position=given["ended"],
            finished_at=given["ended_at"],
        )
    ),
    of=Uuid(),
    of_job=Uuid(),
    ended=BigInteger(),
    ended_at=UtcDateTime(),
)


async def cancel_pending(
    session: AsyncSession, job_id: UUID, positions: Sequence[int], ids: Sequence[UUID]
) -> None:
    """End tasks that had not begun as cancelled."""
    now = await database_now(session)
    await _CANCEL.execute(
        await session.connection(),
        [
            {"of": task_id, "of_job": job_id, "ended": position, "ended_at": now}
            for task_id, position in zip(ids, positions, strict=True)
        ],
    )


async def owned(session: AsyncSession, owners: Mapping[UUID, int]) -> set[UUID]:
    """Those of the tasks that still run under the fence that is named for them."""
    found: set[UUID] = set()
    for chunk in chunks(list(owners)):
        rows = await session.execute(
            select(Task.id, Task.fence).where(Task.id.in_(chunk), Task.status == TaskStatus.RUNNING)
        )
        found.update(row.id for row in rows if row.fence == owners[row.id])
    return found


async def running(session: AsyncSession, task_ids: Collection[UUID]) -> set[UUID]:
    """Those of the tasks that run, whoever has them."""
    found: set[UUID] = set()
    for chunk in chunks(list(task_ids)):
        found.update(
            await session.scalars(
                select(Task.id).where(Task.id.in_(chunk), Task.status == TaskStatus.RUNNING)
            )
        )
    return found
