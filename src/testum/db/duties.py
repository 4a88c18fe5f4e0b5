"""Periodic duties: when each is due again. Whoever moves that time on, does it."""

import datetime as dt
from collections.abc import Mapping

from sqlalchemy import String, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from testum.db.base import Base, insert_into
from testum.db.session import database_now

_PROBE = "check health"
_AT_ONCE = dt.timedelta(minutes=1)
"""So much may pass between one process's look at the clock and what another writes meanwhile."""


class DutyRecord(Base):
    """A duty, by name."""

    __tablename__ = "duties"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    due_at: Mapped[dt.datetime] = mapped_column()


async def not_due(session: AsyncSession, periods: Mapping[str, float]) -> set[str]:
    """Those of the duties whose time has not come yet. `periods`: every how many seconds each is done."""
    now = await database_now(session)
    rows = await session.execute(select(DutyRecord.name, DutyRecord.due_at).where(DutyRecord.due_at > now))
    return {row.name for row in rows if row.due_at <= _latest(now, periods.get(row.name, 0.0))}


def _latest(now: dt.datetime, seconds: float) -> dt.datetime:
    """No duty can be due later than that. One that seems to be was done before the clock was set back."""
    return now + dt.timedelta(seconds=seconds) + _AT_ONCE


async def probe(session: AsyncSession) -> None:
    """Write a row of no duty, to see whether that can be done."""
    await claim(session, _PROBE, 0.0)


async def probed(session: AsyncSession) -> bool:
    """Whether the row that `probe` writes is there."""
    return await session.get(DutyRecord, _PROBE) is not None


async def claim(session: AsyncSession, name: str, seconds: float) -> bool:
    """Take a duty that is due, and let it be due again in so many seconds; False where another took it."""
    now = await database_now(session)
    connection = await session.connection()
    record = insert_into(DutyRecord, connection).values(name=name, due_at=now + dt.timedelta(seconds=seconds))
    taken = await connection.execute(
        record.on_conflict_do_update(
            index_elements=[DutyRecord.name],
            set_={"due_at": record.excluded.due_at},
            where=or_(DutyRecord.due_at <= now, DutyRecord.due_at > _latest(now, seconds)),
        ).returning(DutyRecord.name)
    )
    return taken.first() is not None
