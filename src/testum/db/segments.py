"""The journal of output: what tasks print, in segments, where many processes work on one database.

A segment holds some of a task's encoded frames (core/frames.py): in its row while they are few, or in an
artifact once they are many. All segments of a task follow one another without a gap.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    delete,
    func,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from testum.core.frames import HEADER_SIZE
from testum.db.base import Base
from testum.db.session import database_now
from testum.db.tasks import Task

_ROWS = 4096
"""The most rows that are looked at for one read."""


class OutputSegment(Base):
    """Bytes `start` to `start + size` of a task's encoded output: `data`, or the artifact `object_key`.

    `frames` and `payload` are how many frames and bytes of output they hold; `last_position` is that of the last
    frame.
    """

    __tablename__ = "output_segments"
    __table_args__ = (
        Index("ix_output_segments_job", "job_id", "last_position"),
        Index(
            "ix_output_segments_in_rows",
            "task_id",
            sqlite_where=text("data IS NOT NULL"),
        ),
    )

    task_id: Mapped[UUID] = mapped_column(ForeignKey("task_runs.id", ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    frames: Mapped[int] = mapped_column()
    payload: Mapped[int] = mapped_column(BigInteger)
    job_id: Mapped[UUID] = mapped_column()
    last_position: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[bytes | None] = mapped_column(LargeBinary)
    object_key: Mapped[str | None] = mapped_column(String(300))


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a task's output is stored."""

    size: int
    frames: int
    payload: int


def row(
    task_id: UUID,
    job_id: UUID,
    start: int,
    data: bytes,
    *,
    frames: int,
    last_position: int,
    object_key: str | None = None,
) -> dict[str, object]:
    """The columns of a segment, whose data is kept in its row, or in the artifact `object_key`. No frame in `data` is above
    `last_position`."""
    return {
        "task_id": task_id,
        "start": start,
        "size": len(data),
        "frames": frames,
        "payload": len(data) - HEADER_SIZE * frames,
        "job_id": job_id,
        "last_position": last_position,
        "data": data if object_key is None else None,
        "object_key": object_key,
    }


async def add(session: AsyncSession, segments: Sequence[Mapping[str, object]]) -> None:
    """Store segments, each as the columns of its row."""
    await session.execute(insert(OutputSegment), [dict(segment) for segment in segments])


async def present(session: AsyncSession, keys: Sequence[tuple[UUID, int]]) -> dict[tuple[UUID, int], bytes]:
    """What is stored in those of the segments (task and start) that there are."""
    found: dict[tuple[UUID, int], bytes] = {}
    for task_id, start in keys:
        data = await session.scalar(
            select(OutputSegment.data).where(OutputSegment.task_id == task_id, OutputSegment.start == start)
        )
        if data is not None:
            found[task_id, start] = data
    return found


async def beyond(session: AsyncSession, task_id: UUID, offset: int, size: int) -> list[OutputSegment]:
    """The segments that hold the bytes from `offset` on, in order: one in an artifact, or some in rows, which make
    about `size` bytes."""
    return await _fetch(session, task_id, OutputSegment.start + OutputSegment.size > offset, size)


async def in_rows(session: AsyncSession, task_id: UUID, size: int) -> list[OutputSegment]:
    """The first segments that are in rows and follow one another: about `size` bytes."""
    return await _fetch(session, task_id, OutputSegment.data.is_not(None), size)


async def _fetch(
    session: AsyncSession, task_id: UUID, condition: ColumnElement[bool], size: int
) -> list[OutputSegment]:
    """The first segments for which the condition holds, and that are like the first of them, up to `size`.

    Their sizes are looked at before their data is fetched: a thousand rows may hold a kilobyte, or much more than
    there is memory.
    """
    of_task = OutputSegment.task_id == task_id
    rows = await session.execute(
        select(OutputSegment.start, OutputSegment.size, OutputSegment.object_key)
        .where(of_task, condition)
        .order_by(OutputSegment.start)
        .limit(_ROWS)
    )
    last: int | None = None
    whole = 0
    for start, row_size, object_key in rows:
        if last is not None and (object_key is not None or whole + row_size > size):
            break
        last = start
        whole += row_size
        if object_key is not None:
            break
    if last is None:
        return []
    return list(
        await session.scalars(
            select(OutputSegment)
            .where(of_task, condition, OutputSegment.start <= last)
            .order_by(OutputSegment.start)
        )
    )


async def any_in_artifacts(session: AsyncSession) -> bool:
    """Whether any artifact is named."""
    named = select(literal(1)).where(OutputSegment.object_key.is_not(None)).limit(1)
    return await session.scalar(named) is not None


async def written_after(session: AsyncSession, job_id: UUID, position: int) -> set[UUID]:
    """The tasks of the job that have segments above `position`."""
    statement = select(OutputSegment.task_id).where(
        OutputSegment.job_id == job_id, OutputSegment.last_position > position
    )
    return set(await session.scalars(statement.distinct()))


async def extent(session: AsyncSession, task_id: UUID) -> Extent:
    """How much of the task's output is stored."""
    row = (
        await session.execute(
            select(
                func.coalesce(func.max(OutputSegment.start + OutputSegment.size), 0),
                func.coalesce(func.sum(OutputSegment.frames), 0),
                func.coalesce(func.sum(OutputSegment.payload), 0),
            ).where(OutputSegment.task_id == task_id)
        )
    ).one()
    return Extent(int(row[0]), int(row[1]), int(row[2]))


async def move(session: AsyncSession, segments: Sequence[OutputSegment], object_key: str) -> bool:
    """Let one segment, in an artifact, take the place of several in rows; False where they are not there any
    more, because another process was quicker."""
    first, last = segments[0], segments[-1]
    gone = await session.execute(
        delete(OutputSegment)
        .where(
            OutputSegment.task_id == first.task_id,
            OutputSegment.start >= first.start,
            OutputSegment.start <= last.start,
            OutputSegment.data.is_not(None),
        )
        .returning(OutputSegment.start)
    )
    if len(gone.all()) != len(segments):
        await session.rollback()
        return False
    await add(
        session,
        [
            {
                "task_id": first.task_id,
                "start": first.start,
                "size": sum(segment.size for segment in segments),
                "frames": sum(segment.frames for segment in segments),
                "payload": sum(segment.payload for segment in segments),
                "job_id": first.job_id,
                "last_position": last.last_position,
                "data": None,
                "object_key": object_key,
            }
        ],
    )
    return True


async def objects_of(session: AsyncSession, task_ids: Sequence[UUID]) -> list[str]:
    """The keys of the artifacts that hold output of the tasks."""
    return list(
        await session.scalars(
            select(OutputSegment.object_key).where(
                OutputSegment.task_id.in_(task_ids), OutputSegment.object_key.is_not(None)
            )
        )
    )


async def remove(session: AsyncSession, task_ids: Sequence[UUID]) -> None:
    """Remove the segments of tasks. Their artifacts must be gone: nothing would name them any more."""
    await session.execute(delete(OutputSegment).where(OutputSegment.task_id.in_(task_ids)))


async def of_expired(session: AsyncSession, limit: int = 100) -> list[UUID]:
    """Tasks whose output was to be removed, and of which there still are segments."""
    return list(
        await session.scalars(
            select(OutputSegment.task_id)
            .join(Task, Task.id == OutputSegment.task_id)
            .where(Task.output_expired_at.is_not(None))
            .distinct()
            .limit(limit)
        )
    )


async def drop_copies(session: AsyncSession, seconds: float) -> None:
    """Remove the segments of tasks that ended so many seconds ago with an output that their own rows hold."""
    before = await database_now(session) - dt.timedelta(seconds=seconds)
    copied = select(Task.id).where(
        Task.id == OutputSegment.task_id, Task.finished_at < before, Task.result_location.is_(None)
    )
    await session.execute(delete(OutputSegment).where(OutputSegment.data.is_not(None), copied.exists()))


async def left_in_rows(session: AsyncSession, limit: int = 100) -> list[UUID]:
    """Tasks that are over and whose large output is partly in rows."""
    return list(
        await session.scalars(
            select(OutputSegment.task_id)
            .join(Task, Task.id == OutputSegment.task_id)
            .where(OutputSegment.data.is_not(None), Task.result_location.is_not(None))
            .distinct()
            .limit(limit)
        )
    )
