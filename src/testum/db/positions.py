"""Who hands out positions (core/positions.py): this process alone, or the database for many of them."""

from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import BigInteger, bindparam, case, cast, extract, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.positions import Sequencer
from testum.core.states import FINAL_JOB
from testum.db.jobs import Job
from testum.db.session import Database
from testum.db.tasks import REMAINING, Task


class Positions(Protocol):
    """Gives what a job shows its place in the job's order."""

    async def reserve(self, session: AsyncSession, job_id: UUID, width: int) -> int:
        """The last of `width` positions in a row, for what the session's transaction writes.

        Reserve before the transaction locks anything else of the job: the order of locks is job, then tasks.
        """

    def release(self, job_id: UUID, position: int) -> None:
        """The transaction that reserved `position` is over."""

    async def mark(self, job_id: UUID) -> int:
        """Everything of the job at or below this position can be read from now on."""

    def go_on_after(self, position: int) -> None:
        """What an earlier process has given goes up to this position: all that is reserved from now on comes after it."""


class ProcessPositions:
    """For one process: a clock in memory, which knows what is still being written."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer

    async def reserve(self, session: AsyncSession, job_id: UUID, width: int) -> int:
        """See Positions.reserve."""
        return self._sequencer.reserve(job_id, width)

    def release(self, job_id: UUID, position: int) -> None:
        """See Positions.release."""
        self._sequencer.release(job_id, position)

    async def mark(self, job_id: UUID) -> int:
        """See Positions.mark."""
        return self._sequencer.watermark(job_id)

    def go_on_after(self, position: int) -> None:
        """See Positions.go_on_after."""
        self._sequencer.go_on_after(position)


class StoredPositions:
    """For many processes: the job's row holds its last position, and whoever writes about the job locks that row
    until the commit. What is written thus becomes readable in the order of positions, and the clock is the
    database's, whatever the other machines' clocks say (docs/decisions/0010)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, session: AsyncSession, job_id: UUID, width: int) -> int:
        """See Positions.reserve."""
        connection = await session.connection()
        statement = _ADVANCE if connection.dialect.name == "postgresql" else _ADVANCE_SQLITE
        # 0: the job has been deleted, and with it all that could be written about.
        return await connection.scalar(statement, {"of": job_id, "width": width}) or 0

    def release(self, job_id: UUID, position: int) -> None:
        """See Positions.release. The commit itself has released it."""

    async def mark(self, job_id: UUID) -> int:
        """See Positions.mark."""
        async with self._database.read() as session:
            return await session.scalar(select(Job.position).where(Job.id == job_id)) or 0

    def go_on_after(self, position: int) -> None:
        """See Positions.go_on_after. The job's row knows it."""


def _advance(now: Any) -> Any:
    following = Job.position + bindparam("width", type_=BigInteger)
    return (
        update(Job)
        .where(Job.id == bindparam("of"))
        .values(position=case((following > now, following), else_=now))
        .returning(Job.position)
        .execution_options(synchronize_session=False)
    )


_ADVANCE = _advance(cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger))
# Julian days, in milliseconds at best: what SQLite's clock can do.
_ADVANCE_SQLITE = _advance(cast((func.julianday("now") - 2440587.5) * 86_400_000_000, BigInteger))


async def last_given(session: AsyncSession) -> int:
    """The last position in the rows of the jobs to which something may still be added."""
    going_on = select(Job.id).where(Job.status.not_in(FINAL_JOB))
    rows = await session.execute(
        select(func.max(Task.started_position), func.max(Task.finished_position)).where(
            or_(Task.job_id.in_(going_on), text(REMAINING.text))
        )
    )
    return max(position or 0 for position in rows.one())
