"""Who hands out positions (core/positions.py): this process alone, or the database for many of them."""

from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import BigInteger, bindparam, case, cast, extract, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.positions import Sequencer
from testum.db.jobs import Job
from testum.db.session import Database


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
