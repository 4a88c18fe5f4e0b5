"""Tasks (`task_runs`): a job's work on one platform; the row decides who may do it and what came of it."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    Interval,
    LargeBinary,
    String,
    Uuid,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, defer, mapped_column
from sqlalchemy.types import TypeEngine

from testum.core.frames import Piece, encode_row
from testum.core.shards import DEFAULT_ZONE
from testum.core.states import TaskStatus, sources_of
from testum.db.base import Base, SafeText, UtcDateTime, new_id, utc_now
from testum.db.many import Given, UpdateEach

OUTPUT_KEPT = text("output_expired_at IS NULL AND output_bytes > 0")
"""Which tasks have output. As text, so that both databases see that it is the index's own condition."""


class Task(Base):
    """A task. `platform_name` and `platform_address` are as they were: deleting a platform keeps its history.

    `worker_id`, `fence` and `lease_expires_at` say who owns a running task: a write about a task counts only
    while the fence is the one its writer got with the claim. `output_expired_at` is when its output was removed
    because it was old; what it was is counted all the same.
    """

    __tablename__ = "task_runs"
    __table_args__ = (
        Index("ix_task_runs_job", "job_id", "status", "ordinal"),
        Index("ix_task_runs_ordinal", "job_id", "ordinal"),
        Index("ix_task_runs_platform", "platform_id", "id"),
        Index("ix_task_runs_status", "status", "lease_expires_at"),
        Index("ix_task_runs_started", "job_id", "started_position"),
        Index("ix_task_runs_finished", "job_id", "finished_position"),
        Index(
            "ix_task_runs_output_kept", "finished_at", postgresql_where=OUTPUT_KEPT, sqlite_where=OUTPUT_KEPT
        ),
        Index(
            "ix_task_runs_outcome",
            "status",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL"),
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
    exit_code: Mapped[int | None] = mapped_column()
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
    started_position: Mapped[int | None] = mapped_column(BigInteger)
    finished_position: Mapped[int | None] = mapped_column(BigInteger)
    started_at: Mapped[dt.datetime | None] = mapped_column()
    finished_at: Mapped[dt.datetime | None] = mapped_column()
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class TaskOutput(Base):
    """The frames of a task whose output is small; larger output is the artifact `result_location`."""

    __tablename__ = "task_outputs"

    task_id: Mapped[UUID] = mapped_column(ForeignKey("task_runs.id", ondelete="CASCADE"), primary_key=True)
    frames: Mapped[bytes] = mapped_column(LargeBinary)


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


@dataclass(slots=True)
class Result:
    """How a task ended, as it goes into its row. Of a small output, `shown` is what could be read before, encoded,
    and `rest` what comes after that; the row takes both."""

    task_id: UUID
    job_id: UUID
    fence: int
    status: TaskStatus
    exit_code: int | None = None
    exit_signal: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    stdout: str | None = None
    stderr: str | None = None
    output_frames: int = 0
    output_bytes: int = 0
    result_location: str | None = None
    shown: bytes | None = None
    rest: Sequence[Piece] = ()
    position: int = 0
    """The last of the `width` positions that it got."""

    @property
    def width(self) -> int:
        """How many positions the end takes, with the output that becomes readable with it."""
        return len(self.rest) + ENDING_WIDTH

    @property
    def frames(self) -> bytes | None:
        """The whole of a small output, encoded."""
        if self.shown is None:
            return None
        return self.shown + encode_row(self.rest, self.position - ENDING_WIDTH)


ENDING_WIDTH = 2
"""Positions that a task's end takes: one for `error`, where there is one, and the last for `done`."""


def moment(position: int) -> dt.datetime:
    """The time that a position stands for."""
    return dt.datetime.fromtimestamp(position / 1_000_000, dt.UTC)


async def get(session: AsyncSession, task_id: UUID) -> Task | None:
    """The task with this id."""
    return await session.get(Task, task_id)


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
    for chunk in _chunks(task_ids):
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
    for chunk in _chunks(task_ids):
        found.update(await session.scalars(select(Task.id).where(Task.id.in_(chunk))))
    return found


async def by_ids(session: AsyncSession, task_ids: Sequence[UUID]) -> list[Task]:
    """The tasks with these ids, without their output."""
    found: list[Task] = []
    for chunk in _chunks(task_ids):
        found += await session.scalars(
            select(Task).options(defer(Task.stdout), defer(Task.stderr)).where(Task.id.in_(chunk))
        )
    return found


async def ended_among(session: AsyncSession, task_ids: Sequence[UUID]) -> list[UUID]:
    """Which of these tasks are over."""
    found: list[UUID] = []
    for chunk in _chunks(task_ids):
        found += await session.scalars(
            select(Task.id).where(Task.id.in_(chunk), Task.finished_position.is_not(None))
        )
    return found


def _chunks(task_ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    """SQLite takes only so many parameters in a statement."""
    for start in range(0, len(task_ids), 1000):
        yield task_ids[start : start + 1000]


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
    the worker's until `lease` from now, by the database's clock (see session.database_now). `message` is the id of
    the message that brought the work, where one did."""
    claims = [
        Claim(task.id, task.job_id, task.platform_id, task.platform_name, task.fence + 1, position)
        for task, position in zip(tasks, positions, strict=True)
    ]
    if claims:
        connection = await session.connection()
        on_sqlite = connection.dialect.name == "sqlite"
        await (_CLAIM_SQLITE if on_sqlite else _CLAIM).execute(
            connection,
            [
                {
                    "of": claim.id,
                    "worker": worker,
                    "new_fence": claim.fence,
                    "lease": utc_now() + lease if on_sqlite else lease,
                    "begun": claim.position,
                    "begun_at": moment(claim.position),
                    "message": message,
                }
                for claim in claims
            ],
        )
    return claims


_FINISH = UpdateEach(
    lambda given: (
        update(Task)
        .where(
            Task.id == given["of"],
            Task.fence == given["of_fence"],
            Task.status == TaskStatus.RUNNING,
        )
        .values(
            {name.removeprefix("new_"): value for name, value in given.items() if name.startswith("new_")}
        )
        .values(lease_expires_at=None)
    ),
    of=Uuid(),
    of_fence=Integer(),
    new_status=String(),
    new_exit_code=Integer(),
    new_exit_signal=String(),
    new_error_code=String(),
    new_error_message=SafeText(),
    new_details=JSON(),
    new_stdout=SafeText(),
    new_stderr=SafeText(),
    new_output_frames=Integer(),
    new_output_bytes=BigInteger(),
    new_result_location=String(),
    new_finished_position=BigInteger(),
    new_finished_at=UtcDateTime(),
)


async def finish(session: AsyncSession, results: Sequence[Result]) -> list[Result]:
    """Write how tasks ended; the results that were refused, because their task is not the writer's
    any more, are returned and have changed nothing."""
    connection = await session.connection()
    # In the order of ids, as others lock them who do not hold the job.
    rows = [_finish_row(result) for result in sorted(results, key=lambda result: result.task_id)]
    refused: list[Result] = []
    if await _FINISH.execute(connection, rows) != len(results):
        owned = {
            row.id: (row.fence, row.finished_position)
            for row in await session.execute(
                select(Task.id, Task.fence, Task.finished_position).where(
                    Task.id.in_([result.task_id for result in results])
                )
            )
        }
        refused = [
            result for result in results if owned.get(result.task_id) != (result.fence, result.position)
        ]
    gone = {result.task_id for result in refused}
    outputs = [
        {"task_id": result.task_id, "frames": result.frames}
        for result in results
        if result.frames and result.task_id not in gone
    ]
    if outputs:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        # A task whose worker was salvaged may have its output stored already: the same frames again.
        await connection.execute(dialect.insert(TaskOutput).on_conflict_do_nothing(), outputs)
    return refused


def _finish_row(result: Result) -> dict[str, Any]:
    return {
        "of": result.task_id,
        "of_fence": result.fence,
        "new_status": result.status,
        "new_exit_code": result.exit_code,
        "new_exit_signal": result.exit_signal,
        "new_error_code": result.error_code,
        "new_error_message": result.error_message,
        "new_details": result.details,
        "new_stdout": result.stdout,
        "new_stderr": result.stderr,
        "new_output_frames": result.output_frames,
        "new_output_bytes": result.output_bytes,
        "new_result_location": result.result_location,
        "new_finished_position": result.position,
        "new_finished_at": moment(result.position),
    }


_CANCEL = UpdateEach(
    lambda given: (
        update(Task)
        .where(
            Task.id == given["of"],
            Task.job_id == given["of_job"],
            Task.status.in_(sources_of(TaskStatus.CANCELLED) - {TaskStatus.RUNNING}),
        )
        .values(
            status=TaskStatus.CANCELLED,
            error_code="cancelled",
            error_message="Cancelled before it began: nothing was run on the platform.",
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
    await _CANCEL.execute(
        await session.connection(),
        [
            {"of": task_id, "of_job": job_id, "ended": position, "ended_at": moment(position)}
            for task_id, position in zip(ids, positions, strict=True)
        ],
    )


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


async def renew(session: AsyncSession, worker: str, ids: Sequence[UUID], lease: dt.datetime) -> list[UUID]:
    """The worker lives: the leases of these tasks now end at `lease`. Those that are not its own any more are
    returned."""
    # In the order of ids, as everybody else locks them.
    ids = sorted(ids)
    kept: set[UUID] = set()
    for chunk in _chunks(ids):
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


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A task whose owner is gone, and the fence that its owner had."""

    id: UUID
    job_id: UUID
    fence: int


async def abandoned(
    session: AsyncSession, *, alive: str | None, now: dt.datetime | None, limit: int = 500
) -> list[Abandoned]:
    """Running tasks whose owner is gone: with `now`, those whose lease ran out; with `alive`, all that
    are not that worker's (right only where no other worker can exist)."""
    statement = select(Task.id, Task.job_id, Task.fence).where(Task.status == TaskStatus.RUNNING)
    if alive is not None:
        statement = statement.where(Task.worker_id != alive)
    if now is not None:
        statement = statement.where(Task.lease_expires_at < now)
    rows = await session.execute(statement.order_by(Task.job_id, Task.id).limit(limit))
    return [Abandoned(*row) for row in rows]


async def take_over(
    session: AsyncSession, task: Abandoned, *, worker: str, now: dt.datetime, lease: dt.datetime, alone: bool
) -> int | None:
    """Take a task from its owner, who can write nothing about it any more; the new fence is returned, or None
    where its owner turned out to live, or another was quicker. `alone`: no other worker can exist."""
    statement = update(Task).where(
        Task.id == task.id, Task.fence == task.fence, Task.status == TaskStatus.RUNNING
    )
    if not alone:
        statement = statement.where(Task.lease_expires_at < now)
    fence = task.fence + 1
    taken = await session.scalar(
        statement.values(fence=fence, worker_id=worker, lease_expires_at=lease)
        .returning(Task.id)
        .execution_options(synchronize_session=False)
    )
    return fence if taken is not None else None


async def owned(session: AsyncSession, owners: Mapping[UUID, int]) -> set[UUID]:
    """Those of the tasks that still run under the fence that is named for them."""
    found: set[UUID] = set()
    for chunk in _chunks(list(owners)):
        rows = await session.execute(
            select(Task.id, Task.fence).where(Task.id.in_(chunk), Task.status == TaskStatus.RUNNING)
        )
        found.update(row.id for row in rows if row.fence == owners[row.id])
    return found
