"""Periodic duties: when each is due again. Whoever moves that time on, does it."""

import datetime as dt

from sqlalchemy import String, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from testum.db.base import Base
from testum.db.session import database_now


class DutyRecord(Base):
    """A duty, by name."""

    __tablename__ = "duties"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    due_at: Mapped[dt.datetime] = mapped_column()


async def not_due(session: AsyncSession) -> set[str]:
    """The duties whose time has not come yet."""
    now = await database_now(session)
    return set(await session.scalars(select(DutyRecord.name).where(DutyRecord.due_at > now)))


async def claim(session: AsyncSession, name: str, seconds: float) -> bool:
    """Take a duty that is due, and let it be due again in so many seconds; False where another took it."""
    now = await database_now(session)
    following = now + dt.timedelta(seconds=seconds)
    connection = await session.connection()
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    first = dialect.insert(DutyRecord).values(name=name, due_at=following).on_conflict_do_nothing()
    if (await connection.execute(first)).rowcount:
        return True
    taken = await connection.execute(
        update(DutyRecord).where(DutyRecord.name == name, DutyRecord.due_at <= now).values(due_at=following)
    )
    return bool(taken.rowcount)
