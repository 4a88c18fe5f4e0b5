"""The installation: the one row that says which one this database belongs to."""

import asyncio
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection, Text, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.pool import NullPool

from testum.db.base import Base, insert_into, new_id
from testum.db.session import options

_ONLY = 1


class Installation(Base):
    """There is one row, made at the first start. `key_check` is sealed: it opens with the FERNET_KEY that the
    database is used with."""

    __tablename__ = "installation"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[UUID] = mapped_column(unique=True)
    key_check: Mapped[str | None] = mapped_column(Text)


async def ensure(session: AsyncSession) -> Installation:
    """The row, which is made where it is missing; locked in this transaction.

    So it is the mutex of what must not be done twice at once, though it has no row of its own to lock: two changes
    of platforms and keys that refer to each other, two first accounts. SQLite has one writer anyway.
    """
    connection = await session.connection()
    await connection.execute(
        insert_into(Installation, connection).values(number=_ONLY, id=new_id()).on_conflict_do_nothing()
    )
    return (await session.execute(select(Installation).with_for_update())).scalar_one()


async def is_new(url: str) -> bool:
    """Whether no testum has ever started on the database: it has no row of an installation. False where it cannot be asked:
    whoever opens it says why. Nothing is made of it."""
    try:
        address = make_url(url)
        if address.get_backend_name() == "sqlite" and not await asyncio.to_thread(
            Path(address.database or "").exists
        ):
            # To open it would make it.
            return True
        engine = create_async_engine(url, poolclass=NullPool, **options(url))
    except (ArgumentError, ValueError, NoSuchModuleError):
        return False
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_has_no_row)
    except DatabaseError:
        return False
    finally:
        await engine.dispose()


def _has_no_row(connection: Connection) -> bool:
    if not inspect(connection).has_table(Installation.__tablename__):
        return True
    return connection.execute(select(Installation.number)).first() is None
