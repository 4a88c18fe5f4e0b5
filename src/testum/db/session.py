"""Sessions: how the rest of testum gets at the database.

`read()` gives a session that cannot write, `write()` one transaction. On SQLite there is one writer
at a time: the writing engine holds one connection and begins IMMEDIATE, so that writers queue here,
in order, and never meet "database is locked".
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from testum.db.base import dump_json
from testum.db.sqlite import make_engine
from testum.errors import StorageFull


class Database:
    """The engines of one database address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._sqlite = make_url(url).get_backend_name() == "sqlite"
        if self._sqlite:
            self._reader = make_engine(url, writing=False)
            self._writer = make_engine(url, writing=True)
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
        """One transaction: committed at the end of the block, rolled back when it raises.

        Raises StorageFull where the disk has no room for it.
        """
        try:
            async with self._write_sessions() as session, session.begin():
                yield session
        except OperationalError as error:
            if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise StorageFull(
                    "The disk under DATA_DIR is full: nothing can be saved. Make room there and try again."
                ) from error
            raise

    async def close(self) -> None:
        """Close all connections."""
        await self._reader.dispose()
        if self._writer is not self._reader:
            await self._writer.dispose()
