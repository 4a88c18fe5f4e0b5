"""Periodic duties: when each is due again. Whoever moves that time on, does it."""

import datetime as dt

from sqlalchemy import String, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from testum.db.base import Base, insert_into
from testum.db.session import database_now

_PROBE = "check health"


class DutyRecord(Base):
    """A duty, by name."""

    __tablename__ = "duties"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    due_at: Mapped[dt.datetime] = mapped_column()


async def not_due(session: AsyncSession) -> set[str]:
    """The duties whose time has not come yet."""
    now = await database_now(session)
    return set(await session.scalars(select(DutyRecord.name).where(DutyRecord.due_at > now)))


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
            where=DutyRecord.due_at <= now,
        ).returning(DutyRecord.name)
    )
    return taken.first() is not None
