"""Workers: the processes that run tasks, and when each was last heard of."""

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import JSON, String, delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from testum.db.base import Base, insert_into
from testum.db.session import database_now


class Worker(Base):
    """A worker process. `zones` are the network zones it serves."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    zones: Mapped[list[str]] = mapped_column(JSON)
    version: Mapped[str] = mapped_column(String(50))
    started_at: Mapped[dt.datetime] = mapped_column()
    seen_at: Mapped[dt.datetime] = mapped_column()


async def beat(session: AsyncSession, worker: str, zones: Sequence[str], version: str) -> None:
    """The worker lives now."""
    now = await database_now(session)
    connection = await session.connection()
    row = {"id": worker, "zones": list(zones), "version": version, "started_at": now, "seen_at": now}
    await connection.execute(
        insert_into(Worker, connection)
        .values(**row)
        .on_conflict_do_update(index_elements=[Worker.id], set_={"seen_at": now})
    )


async def leave(session: AsyncSession, worker: str) -> None:
    """The worker stops."""
    await session.execute(delete(Worker).where(Worker.id == worker))


async def living(session: AsyncSession, seconds: float) -> list[Worker]:
    """The workers that were heard of within so many seconds, by id."""
    since = await database_now(session) - dt.timedelta(seconds=seconds)
    return list(await session.scalars(select(Worker).where(Worker.seen_at >= since).order_by(Worker.id)))


async def forget(session: AsyncSession, seconds: float) -> None:
    """Remove the workers that were not heard of for so many seconds."""
    since = await database_now(session) - dt.timedelta(seconds=seconds)
    await session.execute(delete(Worker).where(Worker.seen_at < since))
