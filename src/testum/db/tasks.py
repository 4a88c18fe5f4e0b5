"""Tasks (`task_runs`): a job's work on one platform; the row decides who may do it and what came of it."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    false,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, defer, mapped_column

from testum.core.shards import DEFAULT_ZONE
from testum.core.states import TaskStatus
from testum.db import paging
from testum.db.base import Base, SafeText, new_id, utc_now
from testum.db.bulk import chunks
from testum.db.paging import Page, PageRequest

OUTPUT_KEPT = text("output_expired_at IS NULL AND output_bytes > 0")
"""Which tasks have output. As text, so that both databases see that it is the index's own condition."""
LOOKED_FOR = text("look_at IS NOT NULL")
REMAINING = text("may_still_run")


class Task(Base):
    """A task. `platform_name` is as it was: deleting a platform keeps its history. `platform_address` is the account of the
    host that it was sent to.

    `worker_id`, `fence` and `lease_expires_at` say who owns a running task: a write about a task counts only
    while the fence is the one its writer got with the claim. `output_expired_at` is when its output was removed
    because it was old; what it was is counted all the same.

    `unsent`: it is claimed, and nothing of it has gone to its host. `may_still_run`: it is over, and something of it may
    be at work on its host; at `look_at` somebody looks there the next time, and with `to_be_ended` ends what is found
    (docs/decisions/0028). `boot_id` is the host's at the first look.
    """

    __tablename__ = "task_runs"
    __table_args__ = (
        Index("ix_task_runs_job", "job_id", "status", "ordinal"),
        Index("ix_task_runs_ordinal", "job_id", "ordinal"),
        Index("ix_task_runs_platform", "platform_id", "id"),
        Index("ix_task_runs_status", "status", "lease_expires_at"),
        Index("ix_task_runs_started", "job_id", "started_position"),
        Index("ix_task_runs_finished", "job_id", "finished_position"),
        Index("ix_task_runs_output_kept", "finished_at", sqlite_where=OUTPUT_KEPT),
        Index("ix_task_runs_look", "look_at", sqlite_where=LOOKED_FOR),
        Index("ix_task_runs_remaining", "job_id", sqlite_where=REMAINING),
        Index(
            "ix_task_runs_outcome",
            "status",
            "finished_at",
            sqlite_where=text("finished_at IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    celery_task_id: Mapped[str | None] = mapped_column(String(64))
    zone: Mapped[str] = mapped_column(String(63), default=DEFAULT_ZONE, server_default=DEFAULT_ZONE)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    ordinal: Mapped[int] = mapped_column()
    type: Mapped[str] = mapped_column(String(32))
    platform_id: Mapped[UUID] = mapped_column()
    platform_name: Mapped[str] = mapped_column(String(200))
    platform_address: Mapped[str] = mapped_column(String(420), default="")
    status: Mapped[str] = mapped_column(String(16), default=TaskStatus.PENDING)
    exit_code: Mapped[int | None] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"))
    exit_signal: Mapped[str | None] = mapped_column(String(32))
    result_location: Mapped[str | None] = mapped_column(String(300))
    stdout: Mapped[str | None] = mapped_column(SafeText)
    stderr: Mapped[str | None] = mapped_column(SafeText)
    output_frames: Mapped[int] = mapped_column(default=0)
    output_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    output_expired_at: Mapped[dt.datetime | None] = mapped_column()
    error_code: Mapped[str | None] = mapped_column(String(32), index=True)
    error_message: Mapped[str | None] = mapped_column(SafeText)
    details: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    worker_id: Mapped[str | None] = mapped_column(String(100))
    fence: Mapped[int] = mapped_column(default=0)
    lease_expires_at: Mapped[dt.datetime | None] = mapped_column()
    unsent: Mapped[bool] = mapped_column(default=False, server_default=false())
    may_still_run: Mapped[bool] = mapped_column(default=False, server_default=false())
    look_at: Mapped[dt.datetime | None] = mapped_column()
    to_be_ended: Mapped[bool] = mapped_column(default=False, server_default=false())
    boot_id: Mapped[str | None] = mapped_column(String(64))
    started_position: Mapped[int | None] = mapped_column(BigInteger)
    finished_position: Mapped[int | None] = mapped_column(BigInteger)
    started_at: Mapped[dt.datetime | None] = mapped_column()
    finished_at: Mapped[dt.datetime | None] = mapped_column()
    duration_seconds: Mapped[float | None] = mapped_column()
    """From its claim to its end by a clock that nobody sets; None where nobody was there at both."""
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class TaskOutput(Base):
    """The frames of a task whose output is small; larger output is the artifact `result_location`."""

    __tablename__ = "task_outputs"

    task_id: Mapped[UUID] = mapped_column(ForeignKey("task_runs.id", ondelete="CASCADE"), primary_key=True)
    frames: Mapped[bytes] = mapped_column(LargeBinary)


def moment(position: int) -> dt.datetime:
    """The time that a position stands for."""
    return dt.datetime.fromtimestamp(position / 1_000_000, dt.UTC)


async def get(session: AsyncSession, task_id: UUID) -> Task | None:
    """The task with this id."""
    return await session.get(Task, task_id)


async def find(
    session: AsyncSession,
    request: PageRequest,
    *,
    status: str | None = None,
    type: str | None = None,
    platform_id: UUID | None = None,
    job_id: UUID | None = None,
    error_code: str | None = None,
    q: str | None = None,
) -> Page[Task]:
    """A page of the tasks: a job's in the order of its platforms, otherwise newest first; `q` is looked for in the names of
    platforms."""
    wanted = {
        Task.status: status,
        Task.type: type,
        Task.platform_id: platform_id,
        Task.job_id: job_id,
        Task.error_code: error_code,
    }
    statement = select(Task).where(
        *(column == value for column, value in wanted.items() if value is not None)
    )
    if q:
        statement = statement.where(Task.platform_name.icontains(q, autoescape=True))
    return await paging.fetch(
        session,
        statement,
        request,
        sorts={
            "created_at": Task.created_at,
            "platform_name": Task.platform_name,
            "status": Task.status,
            "ordinal": Task.ordinal,
            "id": Task.id,
        },
        key=Task.id,
        default_sort="ordinal" if job_id is not None else "-created_at",
    )


async def first_of_job(session: AsyncSession, job_id: UUID) -> UUID:
    """The id of a job's first task."""
    first = select(Task.id).where(Task.job_id == job_id).order_by(Task.ordinal).limit(1)
    return (await session.scalars(first)).one()


async def insert_many(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add tasks, each given by its columns."""
    await session.execute(insert(Task), rows)


async def frames_of(session: AsyncSession, task_id: UUID) -> bytes | None:
    """The frames kept in the database for a task: empty where there are none, and None where its output has been
    removed because it was old."""
    row = (
        await session.execute(
            select(Task.output_expired_at, TaskOutput.frames)
            .outerjoin(TaskOutput, TaskOutput.task_id == Task.id)
            .where(Task.id == task_id)
        )
    ).one_or_none()
    if row is None:
        return b""
    return (row.frames or b"") if row.output_expired_at is None else None


async def frames_of_many(session: AsyncSession, task_ids: Sequence[UUID]) -> dict[UUID, bytes]:
    """The frames kept in the database for each of these tasks that has some."""
    found: dict[UUID, bytes] = {}
    for chunk in chunks(task_ids):
        rows = await session.execute(
            select(TaskOutput.task_id, TaskOutput.frames).where(TaskOutput.task_id.in_(chunk))
        )
        found.update((row.task_id, row.frames) for row in rows)
    return found


class Ending(NamedTuple):
    """How a task of a job ended, if it did (`finished_position`), without its output."""

    id: UUID
    platform_name: str
    status: str
    exit_code: int | None
    error_code: str | None
    output_bytes: int
    result_location: str | None
    finished_position: int | None


async def endings(session: AsyncSession, job_id: UUID) -> list[Ending]:
    """The job's tasks, but for those whose output has been removed, in the order of their platforms."""
    rows = await session.execute(
        select(
            Task.id,
            Task.platform_name,
            Task.status,
            Task.exit_code,
            Task.error_code,
            Task.output_bytes,
            Task.result_location,
            Task.finished_position,
        )
        .where(Task.job_id == job_id, Task.output_expired_at.is_(None))
        .order_by(Task.ordinal)
    )
    return [Ending(*row) for row in rows]


async def of_job(session: AsyncSession, job_id: UUID, *, after: int) -> list[Task]:
    """The job's tasks that are running or ended above position `after`, without their output."""
    return await _begun(
        session, job_id, (Task.status == TaskStatus.RUNNING) | (Task.finished_position > after)
    )


async def changed_after(session: AsyncSession, job_id: UUID, after: int) -> list[Task]:
    """The job's tasks that began or ended above position `after`, without their output."""
    return await _begun(session, job_id, (Task.started_position > after) | (Task.finished_position > after))


async def _begun(session: AsyncSession, job_id: UUID, condition: ColumnElement[bool]) -> list[Task]:
    return list(
        await session.scalars(
            select(Task)
            .options(defer(Task.stdout), defer(Task.stderr))
            .where(Task.job_id == job_id, Task.status != TaskStatus.PENDING, condition)
            .order_by(Task.ordinal)
        )
    )


async def known(session: AsyncSession, task_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the tasks that there are."""
    found: set[UUID] = set()
    for chunk in chunks(task_ids):
        found.update(await session.scalars(select(Task.id).where(Task.id.in_(chunk))))
    return found


async def by_ids(session: AsyncSession, task_ids: Sequence[UUID]) -> list[Task]:
    """The tasks with these ids, without their output."""
    found: list[Task] = []
    for chunk in chunks(task_ids):
        found += await session.scalars(
            select(Task).options(defer(Task.stdout), defer(Task.stderr)).where(Task.id.in_(chunk))
        )
    return found


async def ended_among(session: AsyncSession, task_ids: Sequence[UUID]) -> list[UUID]:
    """Which of these tasks are over."""
    found: list[UUID] = []
    for chunk in chunks(task_ids):
        found += await session.scalars(
            select(Task.id).where(Task.id.in_(chunk), Task.finished_position.is_not(None))
        )
    return found


async def count_pending(session: AsyncSession, job_id: UUID) -> int:
    """How many of the job's tasks nobody has claimed."""
    statement = select(func.count()).where(Task.job_id == job_id, Task.status == TaskStatus.PENDING)
    return await session.scalar(statement) or 0


async def pending_ids(session: AsyncSession, job_id: UUID) -> list[UUID]:
    """The ids of the job's tasks that nobody has claimed."""
    return list(
        await session.scalars(
            select(Task.id)
            .where(Task.job_id == job_id, Task.status == TaskStatus.PENDING)
            .order_by(Task.ordinal)
            .with_for_update()
        )
    )
