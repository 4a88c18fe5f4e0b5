"""Sessions: how the rest of testum gets at the database.

`read()` gives a session that cannot write, `write()` one transaction. On SQLite there is one writer
at a time: the writing engine holds one connection and begins IMMEDIATE, so that writers queue here,
in order, and never meet "database is locked".
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from testum.db.base import dump_json

_READERS = 4


class Database:
    """The engines of one database address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._sqlite = make_url(url).get_backend_name() == "sqlite"
        if self._sqlite:
            self._reader = _sqlite_engine(url, readers=_READERS)
            self._writer = _sqlite_engine(url, readers=0)
        else:
            self._reader = create_async_engine(url, json_serializer=dump_json, pool_pre_ping=True)
            self._writer = self._reader
        self._read_sessions = async_sessionmaker(self._reader, expire_on_commit=False, autoflush=False)
        self._write_sessions = async_sessionmaker(self._writer, expire_on_commit=False)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session for reading: one consistent view of the data."""
        async with self._read_sessions() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed at the end of the block, rolled back when it raises."""
        async with self._write_sessions() as session, session.begin():
            yield session

    async def close(self) -> None:
        """Close all connections."""
        await self._reader.dispose()
        if self._writer is not self._reader:
            await self._writer.dispose()


def _sqlite_engine(url: str, *, readers: int) -> AsyncEngine:
    """`readers` 0 makes the engine with the one writing connection."""
    engine = create_async_engine(
        url,
        json_serializer=dump_json,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=readers or 1,
        max_overflow=0,
        pool_timeout=60,
        connect_args={"isolation_level": None, "timeout": 30},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # FULL: a claim that was committed survives a power cut, or the command could run twice.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA busy_timeout=30000")
        cursor.execute("PRAGMA cache_size=-8000")
        if readers:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        # The driver's own transaction handling is off (isolation_level=None): it begins too late.
        connection.exec_driver_sql("BEGIN" if readers else "BEGIN IMMEDIATE")

    return engine
