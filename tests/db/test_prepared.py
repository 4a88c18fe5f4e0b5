"""Statements that go past SQLAlchemy: they find and change what it would, and keep to the order of what is asked for."""

import asyncio
import datetime as dt
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Uuid, bindparam, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import JSON

from tests.db.conftest import add_job
from tests.support.tables import with_tables
from tests.support.waiting import eventually, pause, turns
from testum.db.base import SafeText, UtcDateTime
from testum.db.bulk import UpdateEach
from testum.db.platforms import Platform
from testum.db.prepared import Prepared
from testum.db.session import Database
from testum.db.tasks import Task

_EVERY_COLUMN = select(*Task.__table__.c).where(Task.job_id == bindparam("of_job")).order_by(Task.ordinal)
_SET = UpdateEach(
    lambda given: (
        update(Task)
        .where(Task.id == given["of"], Task.status == "pending")
        .values(
            stdout=given["text"],
            details=given["json"],
            started_at=given["at"],
            started_position=1 << 40,
            duration_seconds=0.25,
            may_still_run=True,
            error_code=None,
        )
    ),
    of=Uuid(),
    text=SafeText(),
    json=JSON(),
    at=UtcDateTime(),
)


async def test_every_kind_of_column_is_written_and_read_as_sqlalchemy_does(database: Database) -> None:
    job_id = await add_job(database, 3)
    at = dt.datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    async with database.write() as session:
        connection = await session.connection()
        ids = [row.id for row in await connection.execute(_EVERY_COLUMN, {"of_job": job_id})]
        values = {"text": "ä\0b", "json": {"ä": [1, None, True]}, "at": at}
        changed = [{"of": task_id, **values} for task_id in [*ids[:2], uuid4()]]
        assert await _SET.execute(connection, changed) == 2
    async with database.read() as session:
        connection = await session.connection()
        rows = await Prepared(_EVERY_COLUMN).rows(connection, {"of_job": job_id})
        by_sqlalchemy = (await connection.execute(_EVERY_COLUMN, {"of_job": job_id})).all()
        assert [tuple(row) for row in rows] == [tuple(row) for row in by_sqlalchemy]
        assert [list(map(type, row)) for row in rows] == [list(map(type, row)) for row in by_sqlalchemy]
    first, _, last = (row._mapping for row in by_sqlalchemy)
    assert (first["stdout"], first["metadata"], first["started_at"]) == (
        "ä\u2400b",
        {"ä": [1, None, True]},
        at,
    )
    assert (first["started_position"], first["duration_seconds"], first["may_still_run"]) == (
        1 << 40,
        0.25,
        True,
    )
    assert (last["stdout"], last["started_at"]) == (None, None)


async def test_a_statement_with_two_lists(database: Database) -> None:
    job_id = await add_job(database, 5)
    statement = select(Task.ordinal).where(
        Task.ordinal.in_(bindparam("ordinals", expanding=True)),
        Task.job_id == bindparam("of_job"),
        Task.status.in_(bindparam("states", expanding=True)),
    )
    given: dict[str, Any] = {"ordinals": [1, 3, 9], "of_job": job_id, "states": ["pending", "lost"]}
    async with database.read() as session:
        connection = await session.connection()
        prepared = Prepared(statement)
        for ordinals, found in (([1, 3, 9], [1, 3]), ([4], [4]), ([9], [])):
            rows = await prepared.rows(connection, {**given, "ordinals": ordinals})
            assert sorted(number for (number,) in rows) == found


async def test_what_the_database_refuses_is_an_error_of_sqlalchemy(database: Database) -> None:
    rename = UpdateEach(
        lambda given: update(Platform).where(Platform.id == given["of"]).values(name="taken"), of=Uuid()
    )
    with pytest.raises(IntegrityError):
        async with database.write() as session:
            platforms = [
                Platform(name=name, host="h", username="u", auth_method="password")
                for name in ("taken", "other")
            ]
            session.add_all(platforms)
            await session.flush()
            await rename.execute(await session.connection(), [{"of": platforms[1].id}])


async def test_a_column_that_sets_itself_is_set(database: Database) -> None:
    """As an UPDATE by SQLAlchemy sets it, though the statement does not name it."""
    rename = UpdateEach(
        lambda given: update(Platform).where(Platform.id == given["of"]).values(name="other"), of=Uuid()
    )
    async with database.write() as session:
        platform = Platform(name="one", host="h", username="u", auth_method="password")
        session.add(platform)
        await session.flush()
        before = platform.updated_at
        await rename.execute(await session.connection(), [{"of": platform.id}])
        await session.refresh(platform)
        assert platform.name == "other" and platform.updated_at > before


@pytest.fixture
async def on_sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    """One process's database."""
    made = Database(await with_tables(tmp_path / "testum.db"))
    yield made
    await made.close()


def driver_of(connection: AsyncConnection) -> Any:
    proxied: Any = connection.sync_connection
    return proxied.connection.driver_connection


async def test_a_short_visit_comes_after_what_the_thread_is_about(on_sqlite: Database) -> None:
    order: list[str] = []

    def slow(_: object) -> None:
        pause(0.2)
        order.append("slow")

    async with on_sqlite.read() as session:
        driver = driver_of(await session.connection())
        await driver.visit(lambda connection: connection.execute("SELECT 1"))
        left = asyncio.create_task(driver.visit(slow))
        await turns(3)
        left.cancel()
        await driver.visit_shortly(lambda _: order.append("short"))
    assert order == ["slow", "short"]


@pytest.mark.parametrize("when", ["before it begins", "as it begins", "after it has begun"])
async def test_a_transaction_that_is_cancelled_changes_nothing(on_sqlite: Database, when: str) -> None:
    """Though its statement is with the connection's thread, which goes on."""
    job_id = await add_job(on_sqlite, 1)
    async with on_sqlite.read() as session:
        task_id = await session.scalar(select(Task.id).where(Task.job_id == job_id))
    row = {"of": task_id, "text": "late", "json": {}, "at": dt.datetime.now(dt.UTC)}
    drivers: list[Any] = []
    held = threading.Event()
    path = make_url(on_sqlite.url).database
    assert path is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as other:

        async def change() -> None:
            async with on_sqlite.write() as session:
                connection = await session.connection()
                driver = driver_of(connection)
                if when == "after it has begun":
                    await session.execute(select(1))
                if when == "as it begins":
                    other.execute("BEGIN IMMEDIATE")
                else:
                    holding = asyncio.create_task(driver._execute(held.wait))
                    await turns(1)
                drivers.append(driver)
                try:
                    await _SET.execute(connection, [row])
                finally:
                    if when != "as it begins":
                        holding.cancel()

        changing = asyncio.create_task(change())
        await eventually(lambda: drivers and drivers[0]._asked > drivers[0]._done)
        await turns(5)
        if when == "as it begins":
            await eventually(drivers[0]._tx.empty)
        changing.cancel()
        await turns(5)
        held.set()
        if other.in_transaction:
            other.rollback()
        with pytest.raises(asyncio.CancelledError):
            await changing
    async with on_sqlite.write() as session:
        assert (await session.get_one(Task, task_id)).started_at is None
        assert await _SET.execute(await session.connection(), [row]) == 1
    async with on_sqlite.read() as session:
        assert (await session.get_one(Task, task_id)).started_at is not None
