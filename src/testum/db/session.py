"""Sessions: how the rest of testum gets at the database.

`read()` gives a session that cannot write, `write()` one transaction. On SQLite there is one writer
at a time: the writing engine holds one connection and begins IMMEDIATE, so that writers queue here,
in order, and never meet "database is locked" of each other.
"""

import asyncio
import datetime as dt
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from testum.db.base import utc_now
from testum.db.lock_wait import waiting_since
from testum.errors import StorageFull, StorageUnavailable, WritesRefused

_NO_ROOM_FOR_SHM = frozenset({sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP})
"""Of the file beside a database through which its connections share memory (sqlite.org/rescode.html)."""
_BROKEN_FILE = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
)
_OUTAGES = (DatabaseError, InterfaceError, PoolTimeout)
_SERVER_SIDE = (OperationalError, InterfaceError, InternalError)


_CLOSE_SECONDS = 5.0


class Database:
    """The engines of one database address."""

    def __init__(self, url: str) -> None:
        self.url = url
        if make_url(url).get_backend_name() == "sqlite":
            from testum.db.sqlite import WriterQueue, make_engine

            self._reader = make_engine(url, writing=False)
            self._writer = make_engine(url, writing=True)
            self._writers: AbstractAsyncContextManager[None] = WriterQueue()
        else:
            from testum.db.postgresql import make_engine as make_postgresql
            from testum.db.postgresql import reading

            self._writer = make_postgresql(url)
            self._writers = nullcontext()
            self._reader = reading(self._writer)
        self._read_sessions = async_sessionmaker(self._reader, expire_on_commit=False, autoflush=False)
        self._write_sessions = async_sessionmaker(self._writer, expire_on_commit=False)
        self._open: dict[AsyncSession, asyncio.Task[None] | None] = {}
        """The sessions whose connections are not given back yet, and what does it."""
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session for reading: one consistent view of the data. Raises StorageUnavailable."""
        try:
            async with self._session(self._read_sessions) as session:
                yield session
        except _OUTAGES as error:
            known = translate(error)
            # Whoever writes here is at fault, and not the database.
            if known is None or isinstance(known, WritesRefused):
                raise
            raise known from error

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed at the end of the block, rolled back when it raises.

        Raises StorageFull where the disk has no room for it, StorageUnavailable where the database does not answer.
        Whether a transaction was committed whose database went away meanwhile, nobody knows.
        """
        waiting_since.set(time.monotonic())
        try:
            async with self._writers, self._session(self._write_sessions) as session, session.begin():
                yield session
        except _OUTAGES as error:
            if known := translate(error):
                raise known from error
            raise

    @asynccontextmanager
    async def _session(self, make: async_sessionmaker[AsyncSession]) -> AsyncIterator[AsyncSession]:
        session = make()
        self._open[session] = None
        try:
            yield session
        finally:
            # Whoever is cancelled here leaves, and the connection is given back all the same.
            closing = asyncio.create_task(self._give_back(session), name="close-session")
            self._open[session] = closing
            await asyncio.shield(closing)

    async def _give_back(self, session: AsyncSession) -> None:
        try:
            await session.close()
        finally:
            del self._open[session]
            self._changed.set()

    async def close(self) -> None:
        """Close all connections, once they are given back or it is in vain to wait for that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._open:
                    self._changed.clear()
                    await self._changed.wait()
        await self._reader.dispose()
        await self._writer.dispose()


def options(url: str) -> dict[str, Any]:
    """What an engine for this address needs beside it."""
    if make_url(url).get_backend_name() == "sqlite":
        return {}
    from testum.db.postgresql import CONNECTION

    return {"connect_args": CONNECTION}


def on_sqlite(session: AsyncSession) -> bool:
    """Whether its database is a file of SQLite."""
    assert session.bind is not None
    return session.bind.dialect.name == "sqlite"


async def database_now(session: AsyncSession) -> dt.datetime:
    """The present moment by the clock that all processes share: the database's own, where it is a server."""
    if on_sqlite(session):
        return utc_now()
    connection = await session.connection()
    now: dt.datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return now.astimezone(dt.UTC)


_STARTED, _STARTED_MONOTONIC = utc_now(), time.monotonic()


async def lease_now(session: AsyncSession) -> dt.datetime:
    """The present moment by the clock that leases are written by: the database's own, where it is a server. One process
    alone has none to share it with: it counts from its start by a clock that nobody sets, and that stands still while the
    machine sleeps (clock_gettime(2), CLOCK_MONOTONIC)."""
    if on_sqlite(session):
        return _STARTED + dt.timedelta(seconds=time.monotonic() - _STARTED_MONOTONIC)
    return await database_now(session)


def translate(error: DBAPIError | PoolTimeout) -> StorageFull | StorageUnavailable | None:
    """What the error means to those who know no database; None: that this code is at fault."""
    if isinstance(error, PoolTimeout):
        return StorageUnavailable("The database is too busy: no connection became free in time.")
    code = _sqlite_code(error)
    if code == sqlite3.SQLITE_FULL or getattr(error.orig, "sqlite_errorcode", 0) in _NO_ROOM_FOR_SHM:
        return StorageFull(
            "The disk under DATA_DIR is full: nothing can be saved. Make room there and try again."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StorageUnavailable(
            "Another program holds the database file: nothing can be saved until it lets go. Try again."
        )
    if code in _BROKEN_FILE:
        return StorageUnavailable(f"The database file cannot be used: {_first_line(error.orig)}")
    if code == sqlite3.SQLITE_READONLY:
        return WritesRefused("The database file can only be read: nothing can be saved.")
    state = getattr(error.orig, "sqlstate", None)
    if state == "25006":
        # read_only_sql_transaction: a standby, or a database that was made read-only.
        return WritesRefused(f"The database refuses to write: {_first_line(error.orig)}")
    if state == "55P03":
        # lock_not_available: see postgresql.py, on lock_timeout.
        return StorageUnavailable(
            "Another program holds what is needed in the database and does not let go of it. Try again."
        )
    if state is not None and state[:2] == "53":
        # 53100 disk_full; the rest of the class (memory, connections) passes.
        if state == "53100":
            return StorageFull(
                "The database's disk is full: nothing can be saved. Make room there and try again."
            )
        return StorageUnavailable(f"The database is out of resources: {_first_line(error.orig)}")
    if isinstance(error.orig, sqlite3.Error) or not isinstance(error, _SERVER_SIDE):
        return None
    if isinstance(error, InternalError) and not error.connection_invalidated:
        # Where the server ended the connection, as of a transaction that was idle for too long (25P03), it is an
        # outage; the rest of this kind is our fault.
        return None
    return StorageUnavailable(f"The database does not answer: {_first_line(error.orig)}")


def _sqlite_code(error: DBAPIError) -> int:
    """SQLite's primary result code, which is the low byte of the extended one (sqlite.org/rescode.html); 0 of others."""
    return int(getattr(error.orig, "sqlite_errorcode", 0)) & 0xFF


def _first_line(error: BaseException | None) -> str:
    return str(error).partition("\n")[0]
