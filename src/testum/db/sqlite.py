"""SQLite's engines: one that writes and one that reads, over connections that answer in one step."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import aiosqlite
from sqlalchemy import Connection, event
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from testum.db.base import dump_json
from testum.db.lock_wait import BUSY_SECONDS, left

_READERS = 4
_TURN_SECONDS = 60
"""So long a transaction waits for those before it."""


class WriterQueue:
    """Lets one transaction write at a time, in the order in which they asked. The pool alone would give the connection that
    comes back to whoever asks at that moment, and those who have waited would wait on."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._lock.acquire()
        except TimeoutError:
            raise PoolTimeout from None

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


class _Cursor:
    """What SQLAlchemy uses of aiosqlite's cursor, with one visit to the connection's thread for a
    statement and all its rows, where aiosqlite makes four. The visits, and not SQLite, are what short
    statements cost: each wakes a thread and then the loop."""

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Any = ()) -> Self:
        """Run one statement and fetch its rows."""
        await self._connection.visit(partial(self._run, statement, parameters, many=False))
        return self

    async def executemany(self, statement: str, parameters: Any) -> Self:
        """Run a statement once with each of the parameters."""
        await self._connection.visit(partial(self._run, statement, parameters, many=True))
        return self

    def _run(self, statement: str, parameters: Any, connection: sqlite3.Connection, *, many: bool) -> None:
        cursor = connection.cursor()
        try:
            (cursor.executemany if many else cursor.execute)(statement, parameters)
            self.description = cursor.description
            self._rows = cursor.fetchall() if cursor.description else []
            self.rowcount = cursor.rowcount
            self.lastrowid = cursor.lastrowid
        finally:
            cursor.close()

    async def fetchall(self) -> Sequence[Any]:
        """The rows that `execute` fetched."""
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Nothing is open."""


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection with the quicker cursor. A transaction begins together with its first
    statement, and one that has none costs nothing."""

    writing = False
    _to_begin: str | None = None
    _begun = False
    _patience: float | None = None
    _asked = _done = 0
    """How many calls the connection's thread was given, and how many it has done: each is written by one thread only."""

    def cursor(self) -> Any:
        """A cursor that SQLAlchemy can use."""
        return _Cursor(self)

    def begin(self, statement: str, patience: float | None = None) -> None:
        """Begin a transaction, with this statement, before the next one; waiting so many seconds at most for another
        program's lock, where that is given."""
        self._to_begin = statement
        self._patience = patience

    async def visit(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do something in the connection's thread."""
        await self._execute(self._visit, work)

    async def visit_shortly(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do something that takes no longer than the visit itself: in the calling thread, if the transaction has begun and
        the connection's thread has nothing to do. To begin a transaction may mean to wait for other programs."""
        if self._to_begin is not None or self._asked != self._done:
            await self.visit(work)
        else:
            work(self._conn)

    async def _execute(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        if self._running and self._connection is not None:
            self._asked += 1
        return await super()._execute(self._count, fn, *args, **kwargs)  # type: ignore[no-untyped-call]

    def _count(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        finally:
            self._done += 1

    def _visit(self, work: Callable[[sqlite3.Connection], None]) -> None:
        if self._to_begin is not None:
            if self._patience is not None:
                self._conn.execute(f"PRAGMA busy_timeout = {int(self._patience * 1000)}")
            self._conn.execute(self._to_begin)
            self._to_begin, self._begun = None, True
        work(self._conn)

    async def commit(self) -> None:
        """Commit what has begun."""
        self._to_begin = None
        if self._begun:
            await super().commit()
            self._begun = False

    async def rollback(self) -> None:
        """Take back what has begun. Where somebody was cancelled, the thread may still have statements to do or to begin:
        those come first, or they would be done outside of any transaction."""
        if self._asked != self._done or (self._begun and self.writing):
            await self._execute(self._take_back)
        else:
            # It has only read, if anything.
            self._take_back()

    def _take_back(self) -> None:
        self._to_begin = None
        if self._begun:
            self._conn.rollback()
            self._begun = False


class _Compiler(SQLiteCompiler):
    """SQLite's own LIKE takes no notice of the case of ASCII letters, and its lower() knows no others: what SQLAlchemy
    writes for `ilike`, `lower(a) LIKE lower(b)`, is the same in three times the time."""

    def visit_ilike_case_insensitive_operand(self, element: Any, **kw: Any) -> str:
        """One side of the comparison."""
        return self.process(element.element, **kw)


def _open(path: str, *, writing: bool) -> sqlite3.Connection:
    # The driver's own transaction handling is off (isolation_level=None): it begins too late. Two threads use it in turn.
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        _use_wal(connection)
        # FULL: a claim that was committed survives a power cut, or the command could run twice.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-8000")
        if not writing:
            connection.execute("PRAGMA query_only=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Keep the file with a write-ahead log. Of several connections to a file without one, SQLite answers all but one that
    it is busy, and does not wait for it whatever the timeout: each reads what the other wants to write, and none would get
    on (sqlite.org/c3ref/busy_handler.html)."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def make_engine(url: str, *, writing: bool) -> AsyncEngine:
    """An engine for reading only, or one with the one connection that writes."""
    path = make_url(url).database or ":memory:"

    async def connect() -> aiosqlite.Connection:
        connection = _Connection(partial(_open, path, writing=writing), iter_chunk_size=64)
        connection._thread.daemon = True
        connection.writing = writing
        return await connection

    engine = create_async_engine(
        url,
        json_serializer=dump_json,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1 if writing else _READERS,
        max_overflow=0,
        pool_timeout=_TURN_SECONDS,
        async_creator=connect,
    )
    engine.sync_engine.dialect.statement_compiler = _Compiler

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if writing:
            driver.begin("BEGIN IMMEDIATE", left())
        else:
            driver.begin("BEGIN")

    return engine
