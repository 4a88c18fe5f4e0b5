"""The database that an installation moves from: an SQLite file of another server, only read."""

import fcntl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import aiosqlite
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    cast,
    inspect,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from testum.core.states import TaskStatus
from testum.db import keys, migrate, platforms
from testum.db.installation import Installation
from testum.db.segments import OutputSegment
from testum.db.tables import metadata
from testum.db.tasks import Task
from testum.errors import TestumError

Row = dict[str, Any]
Source = AsyncConnection
"""The old database, see `opened`."""

_ROWS = 500
"""Rows that are held at once. A task's row may hold 64 KiB of text."""


class NotMoved(TestumError):
    """The installation cannot be moved; the message says why and what to do. The new database is as it was."""

    code = "not_moved"


def path_of(address: str) -> Path:
    """The file that an SQLAlchemy URL of SQLite, or a path, names. Raises NotMoved."""
    path = Path(address)
    if "://" in address:
        try:
            url = make_url(address)
        except (ArgumentError, ValueError):
            raise NotMoved(f"{address.partition('://')[0]}://... is not the address of a database.") from None
        if url.get_backend_name() != "sqlite":
            raise NotMoved(
                f"Only an installation on SQLite can be moved, not one on {url.get_backend_name()}: "
                "move that with the database's own tools."
            )
        path = Path(url.database or "")
    if not path.is_file():
        raise NotMoved(f"{path} is not a file. Name the old database: DATA_DIR/testum.db of that server.")
    return path.resolve()


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[AsyncConnection]:
    """The old database, for reading, in one view of it. Raises NotMoved where it is not of this release's schema."""
    # Without a log beside it nothing can be missing in the file, and then SQLite need not make one to read it.
    wal = path.with_name(f"{path.name}-wal")
    whole = not wal.exists() or wal.stat().st_size == 0
    address = f"file:{quote(str(path))}?mode=ro" + ("&immutable=1" if whole else "")
    engine = create_async_engine(
        "sqlite+aiosqlite://", poolclass=NullPool, async_creator=lambda: aiosqlite.connect(address, uri=True)
    )
    try:
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(engine.connect())
                await connection.exec_driver_sql("BEGIN")
                await connection.run_sync(_check_schema, path)
            except DatabaseError as error:
                raise NotMoved(f"{path} cannot be read: {error.orig}.") from None
            yield connection
    finally:
        await engine.dispose()


def _check_schema(connection: Connection, path: Path) -> None:
    present = migrate.revision_of(connection)
    if present is None:
        raise NotMoved(f"{path} is not a database of testum.")
    if present == migrate.newest():
        # Of a feature that is gone, or that nobody has loaded: they would be left behind without a word.
        tables = set(inspect(connection).get_table_names())
        if unknown := tables - metadata.tables.keys() - {migrate.VERSION_TABLE}:
            raise NotMoved(
                f"{path} has tables that this testum does not know: {', '.join(sorted(unknown))}. Move it with the release "
                "that made them, or delete them."
            )
        return
    if present in migrate.revisions():
        raise NotMoved(
            f"{path} is of an older testum (schema {present}). Make a backup, then run `testum db upgrade` "
            f"with DATABASE_URL=sqlite:///{path} first."
        )
    raise NotMoved(f"{path} is of a newer testum (schema {present}). Move it with that release.")


async def check_secrets(source: AsyncConnection, open_secret: Callable[[UUID, str, str], str]) -> None:
    """That the keys open what the old installation sealed. Raises ConfigurationError."""
    async with AsyncSession(source) as session:
        sealed = [await platforms.newest_secret(session), await keys.newest_secret(session)]
        checks = (await session.execute(select(Installation.id, Installation.key_check))).all()
    sealed += [(owner, "key_check", check) for owner, check in checks if check is not None]
    for secret in sealed:
        if secret is not None:
            open_secret(*secret)


@contextmanager
def stopped(folder: Path) -> Iterator[None]:
    """No server works on the data in `folder` meanwhile. Raises NotMoved where one does."""
    lock = folder / "lock"
    if not lock.exists():
        # Where there is none, no server has ever been: a backup.
        yield
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(lock.open("r"))
        except OSError as error:
            raise NotMoved(f"{lock} cannot be read: {error.strerror}.") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotMoved(f"A testum works on {folder}. Stop it, then run this again.") from None
        yield


@dataclass(frozen=True, slots=True)
class Kept:
    """A task whose output may be kept in files. `named`: its row says that it is; else the task runs, or ran when the
    server was killed."""

    task_id: UUID
    job_id: UUID
    named: bool


async def kept_in_files(source: Source) -> AsyncIterator[list[Kept]]:
    """The tasks whose output is not in the database, or may not be; some at a time."""
    in_journal = select(literal(1)).where(OutputSegment.task_id == Task.id).exists()
    statement = (
        select(Task.id, Task.job_id, Task.result_location)
        .where(or_(Task.result_location.is_not(None), Task.status == TaskStatus.RUNNING), ~in_journal)
        .order_by(Task.id)
        .limit(_ROWS)
    )
    page = statement
    while found := (await source.execute(page)).all():
        yield [Kept(row.id, row.job_id, row.result_location is not None) for row in found]
        page = statement.where(Task.id > found[-1].id)


async def object_keys(source: AsyncConnection) -> AsyncIterator[list[str]]:
    """The artifacts that the old installation kept output in, some at a time."""
    table: Any = OutputSegment.__table__
    async for rows in pages(source, table, OutputSegment.object_key.is_not(None)):
        yield [row["object_key"] for row in rows]


async def pages(
    connection: AsyncConnection, table: Table, condition: ColumnElement[bool] | None = None
) -> AsyncIterator[list[Row]]:
    """The rows of a table in the order of its key, some at a time. JSON is given as the text that is stored: a
    missing value and JSON's `null` are not the same."""
    order = list(table.primary_key.columns)
    whole = select(*(_stored(column, connection.dialect.name) for column in table.columns))
    if condition is not None:
        whole = whole.where(condition)
    whole = whole.order_by(*order).limit(_ROWS)
    statement = whole
    while True:
        found = (await connection.execute(statement)).mappings().all()
        if found:
            yield [dict(row) for row in found]
        if len(found) < _ROWS:
            return
        last = [literal(found[-1][column.name], column.type) for column in order]
        statement = whole.where(order[0] > last[0] if len(order) == 1 else tuple_(*order) > tuple_(*last))


def _stored(column: Column[Any], dialect: str) -> ColumnElement[Any]:
    if not isinstance(column.type, JSON):
        return column
    as_text = cast(column, Text) if dialect == "postgresql" else type_coerce(column, Text)
    return as_text.label(column.name)
