"""PostgreSQL's engine, over psycopg 3."""

import asyncio
import math
import select
import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import Buffer, PQGen
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from testum.db.base import dump_json

_USED = "testum_used"
_FRESH_SECONDS = 1.0
_POOL = 5
_OVERFLOW = 10
"""Connections that are kept, and how many more there may be at a rush: a server has about a hundred for all processes."""
CONNECTION = {
    "connect_timeout": 5,
    # A connection that the network swallowed is noticed within seconds, not after a quarter of an hour.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "testum",
    # Prepared statements belong to one server connection; PgBouncer lends each transaction another.
    "prepare_threshold": None,
}


_LOCK_SECONDS = 10
"""So long a statement waits for what another transaction holds. testum's own hold nothing for as long."""
_ABANDONED = """
SET idle_in_transaction_session_timeout = '10s';
SET tcp_keepalives_idle = 5;
SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '10s';
"""
"""The server's side of it: a process that was stopped, or cut off, in the midst of a transaction must not hold its
locks for longer; others wait for them. Statements and not connection options, which PgBouncer refuses."""


_ANSWER_SECONDS = 30.0
"""So long a statement is waited for: a server that hangs keeps its connections, and says nothing over them."""
_PING_SECONDS = 3.0
"""The same for the statement that tries a connection before it is used."""

_Answer = TypeVar("_Answer")


class _Connection(psycopg.AsyncConnection[Any]):
    """Waits for the server so long only. psycopg cancels the statement then, and closes a connection on which that does
    not help."""

    patience: float | None = _ANSWER_SECONDS
    """In seconds; None: without end."""

    async def wait(self, gen: PQGen[_Answer], *args: Any, **options: Any) -> _Answer:
        """See psycopg. Raises psycopg.OperationalError where the answer does not come in time."""
        try:
            async with asyncio.timeout(self.patience):
                return await super().wait(gen, *args, **options)
        except TimeoutError:
            raise psycopg.OperationalError(f"no answer within {self.patience:g} seconds") from None


class _Text(StrDumperUnknown):
    """PostgreSQL's text holds no NUL: it becomes `␀` (U+2400), its picture, and a search for one finds nothing
    else. Requests and hosts may send it anywhere, and must not make a statement fail."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "␀") if "\0" in obj else obj)


def _has_news(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether the server has said something unasked: it says nothing but that it ends the connection."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


async def wait_without_end(connection: AsyncConnection) -> None:
    """Give the server as long as it takes, until the connection is given back."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    driver.patience = None


def make_engine(url: str) -> AsyncEngine:
    """An engine whose connections are tried before they are used, unless they have just been: the server may have
    been restarted."""
    engine = create_async_engine(
        url,
        json_serializer=dump_json,
        pool_size=_POOL,
        max_overflow=_OVERFLOW,
        pool_use_lifo=True,
        pool_timeout=30,
        connect_args={**CONNECTION, "async_creator_fn": _Connection.connect},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: DBAPIConnection, _record: Any) -> None:
        driver: _Connection = connection.driver_connection
        driver.adapters.register_dumper(str, _Text)
        cursor = connection.cursor()
        cursor.execute(f"{_ABANDONED}SET lock_timeout = '{_LOCK_SECONDS}s'")
        cursor.close()
        connection.commit()

    @event.listens_for(engine.sync_engine, "checkin")
    def _given_back(_connection: DBAPIConnection | None, record: Any) -> None:
        record.info[_USED] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def _taken(connection: DBAPIConnection, record: Any, _proxy: Any) -> None:
        # SQLAlchemy's own pre-ping asks the server each time: with short transactions, one question in ten. What the
        # server has ended shows without asking; what the network swallowed, not.
        driver: _Connection = connection.driver_connection
        driver.patience = _PING_SECONDS
        try:
            fresh = time.monotonic() - record.info.get(_USED, math.inf) < _FRESH_SECONDS
            if not fresh or _has_news(driver):
                engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise DisconnectionError(str(error)) from error
        finally:
            driver.patience = _ANSWER_SECONDS

    return engine


def reading(engine: AsyncEngine) -> AsyncEngine:
    """The same engine and pool, for transactions that cannot write and see one state of the data."""
    reader = engine.execution_options()

    @event.listens_for(reader.sync_engine, "engine_connect")
    def _taken(connection: Connection) -> None:
        # As options of the engine, these would be set where SQLAlchemy has no owner for the connection yet: whoever is
        # cancelled there would never give it back.
        try:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        except BaseException:
            connection.close()
            raise

    return reader
