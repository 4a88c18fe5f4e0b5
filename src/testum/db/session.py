"""Sessions: how the rest of testum gets at the database.

`read()` gives a session that cannot write, `write()` one transaction. On SQLite there is one writer
at a time: the writing engine holds one connection and begins IMMEDIATE, so that writers queue here,
in order, and never meet "database is locked".
"""

import datetime as dt
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from testum.db.base import utc_now
from testum.errors import StorageFull, StorageUnavailable


class Database:
    """The engines of one database address."""

    def __init__(self, url: str) -> None:
        self.url = url
        if make_url(url).get_backend_name() == "sqlite":
            from testum.db.sqlite import make_engine

            self._reader = make_engine(url, writing=False)
            self._writer = make_engine(url, writing=True)
        else:
            from testum.db.postgresql import make_engine as make_postgresql

            self._writer = make_postgresql(url)
            self._reader = self._writer.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        self._read_sessions = async_sessionmaker(self._reader, expire_on_commit=False, autoflush=False)
        self._write_sessions = async_sessionmaker(self._writer, expire_on_commit=False)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session for reading: one consistent view of the data. Raises StorageUnavailable."""
        try:
            async with self._read_sessions() as session:
                yield session
        except (OperationalError, InterfaceError, InternalError, PoolTimeout) as error:
            if known := _translate(error):
                raise known from error
            raise

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed at the end of the block, rolled back when it raises.

        Raises StorageFull where the disk has no room for it, StorageUnavailable where the database does not answer.
        Whether a transaction was committed whose database went away meanwhile, nobody knows.
        """
        try:
            async with self._write_sessions() as session, session.begin():
                yield session
        except (OperationalError, InterfaceError, InternalError, PoolTimeout) as error:
            if known := _translate(error):
                raise known from error
            raise

    async def close(self) -> None:
        """Close all connections."""
        await self._reader.dispose()
        await self._writer.dispose()


def options(url: str) -> dict[str, Any]:
    """What an engine for this address needs beside it."""
    if make_url(url).get_backend_name() == "sqlite":
        return {}
    from testum.db.postgresql import CONNECTION

    return {"connect_args": CONNECTION}


async def database_now(session: AsyncSession) -> dt.datetime:
    """The present moment by the clock that all processes share: the database's own, where it is a server."""
    connection = await session.connection()
    if connection.dialect.name == "sqlite":
        return utc_now()
    now: dt.datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return now.astimezone(dt.UTC)


_STARTED, _STARTED_MONOTONIC = utc_now(), time.monotonic()


async def lease_now(session: AsyncSession) -> dt.datetime:
    """The present moment by the clock that leases are counted by: the database's own, where it is a server. One process
    alone has none to share it with: it counts from its start by a clock that nobody sets, and that stands still while the
    machine sleeps (clock_gettime(2), CLOCK_MONOTONIC)."""
    connection = await session.connection()
    if connection.dialect.name == "sqlite":
        return _STARTED + dt.timedelta(seconds=time.monotonic() - _STARTED_MONOTONIC)
    return await database_now(session)


def _translate(error: DBAPIError | PoolTimeout) -> StorageFull | StorageUnavailable | None:
    """What the error means to those who know no database; None: that this code is at fault."""
    if isinstance(error, PoolTimeout):
        return StorageUnavailable("The database is too busy: no connection became free in time.")
    if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return StorageFull(
            "The disk under DATA_DIR is full: nothing can be saved. Make room there and try again."
        )
    state = getattr(error.orig, "sqlstate", None)
    if state is not None and state[:2] == "53":
        # 53100 disk_full; the rest of the class (memory, connections) passes.
        if state == "53100":
            return StorageFull(
                "The database's disk is full: nothing can be saved. Make room there and try again."
            )
        return StorageUnavailable(f"The database is out of resources: {_first_line(error.orig)}")
    if isinstance(error.orig, sqlite3.Error):
        return None
    if isinstance(error, InternalError) and not error.connection_invalidated:
        # Where the server ended the connection, as of a transaction that was idle for too long (25P03), it is an
        # outage; the rest of this kind is our fault.
        return None
    return StorageUnavailable(f"The database does not answer: {_first_line(error.orig)}")


def _first_line(error: BaseException | None) -> str:
    return str(error).partition("\n")[0]
