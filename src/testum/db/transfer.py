"""Moving an installation from SQLite into PostgreSQL: all rows as they are, in one transaction, verified.

The old database is only read. Rows keep their ids and times; what differs, and why:

- NUL in text, which PostgreSQL cannot hold, becomes `␀` as everywhere (db/postgresql.py);
- `jobs.position`, which one process alone does not keep, becomes the job's last position that was given out;
- what the caller's `change` makes of a row.
"""

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from testum.db.installation import Installation
from testum.db.jobs import Job
from testum.db.postgresql import wait_without_end
from testum.db.segments import OutputSegment
from testum.db.sqlite_source import NotMoved, Row, Source, pages
from testum.db.tables import metadata
from testum.db.tasks import Task

Change = Callable[[str, Row], None]
"""Changes a row of the table that is named to what it shall be in the new database."""
Say = Callable[[str], None]
"""Shows how far it is."""

_COUNTED_ANEW = {Job.__tablename__: ("position",)}
"""Columns whose values are not the old ones; see `set_positions`."""


@dataclass(slots=True)
class Tally:
    """How many rows a table has, and a digest of what is in them that does not depend on their order: the sum of
    the rows' SHA-256."""

    rows: int = 0
    digest: int = 0

    def add(self, table: Table, rows: Iterable[Row]) -> None:
        """Count rows in."""
        for row in rows:
            self.rows += 1
            self.digest = (self.digest + _hash(table, row)) % 2**256


Tallies = dict[str, Tally]
"""By the table's name, in the order in which tables are filled."""


def _hash(table: Table, row: Row) -> int:
    left_out = _COUNTED_ANEW.get(table.name, ())
    values = [_plain(row[column.name]) for column in table.columns if column.name not in left_out]
    return int.from_bytes(hashlib.sha256(repr(values).encode("utf-8", "surrogatepass")).digest())


def _plain(value: Any) -> Any:
    """The value so that both databases show it alike: a server tells times in its own zone."""
    return value.astimezone(dt.UTC).isoformat() if isinstance(value, dt.datetime) else value


async def seize(target: AsyncConnection, source: Source) -> bool:
    """Keep servers from starting on the new database until the end of the transaction, and look whether it is empty.
    False: it holds this installation already, moved by an earlier run. Raises NotMoved where it holds another's
    data."""
    # One statement may be about all rows.
    await wait_without_end(target)
    # Every process that starts goes through this table before it makes the first account.
    await target.execute(text("LOCK TABLE installation IN EXCLUSIVE MODE"))
    # One transaction, with uploads in it, may take hours.
    await target.execute(text("SET LOCAL statement_timeout = 0"))
    await target.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    own = Installation.__table__
    filled = [
        table.name
        for table in metadata.sorted_tables
        if table is not own and (await target.execute(select(literal(1)).select_from(table).limit(1))).first()
    ]
    if not filled:
        # Of a first start that went no further.
        await target.execute(delete(Installation))
        return True
    of_target = (await target.execute(select(Installation.id))).scalar()
    of_source = (await source.execute(select(Installation.id))).scalar()
    if of_target is not None and of_target == of_source:
        return False
    raise NotMoved(
        f"DATABASE_URL: the database already has data of its own (in {', '.join(filled[:3])}"
        f"{' and others' if len(filled) > 3 else ''}). Name an empty one."
    )


async def copy(source: Source, target: AsyncConnection, *, change: Change, write: bool, say: Say) -> Tallies:
    """Copy all rows; what should then be there. Without `write` nothing is copied."""
    tallies: Tallies = {}
    for table in metadata.sorted_tables:
        tally = tallies[table.name] = Tally()
        later = [
            column
            for column in table.columns
            if any(key.column.table is table for key in column.foreign_keys)
        ]
        statement = _insert(table)
        none = dict.fromkeys((column.name for column in later), None)
        async for rows in _expected(source, table, change):
            tally.add(table, rows)
            if write:
                await _put(target, table, statement, [_parameters(table, row | none) for row in rows])
            say(f"{table.name}: {tally.rows} rows")
        # Rows may name others of their table that come after them: only when all are there.
        if write and later:
            point = _point(table, later)
            async for rows in _expected(source, table, change):
                pointing = [row for row in rows if any(row[column.name] is not None for column in later)]
                if pointing:
                    await _put(target, table, point, [_parameters(table, row) for row in pointing])
    return tallies


async def _expected(source: Source, table: Table, change: Change) -> AsyncIterator[Sequence[Row]]:
    """The table's rows as they shall be."""
    async for rows in pages(source, table):
        for row in rows:
            for name, value in row.items():
                if isinstance(value, str) and "\0" in value:
                    row[name] = value.replace("\0", "␀")
            change(table.name, row)
        yield rows


def _parameters(table: Table, row: Row) -> Row:
    return {f"new_{column.name}": row[column.name] for column in table.columns}


def _given(column: Column[Any]) -> ColumnElement[Any]:
    """The parameter for a column's value, as `pages` reads it."""
    if not isinstance(column.type, JSON):
        return bindparam(f"new_{column.name}", type_=column.type)
    as_text: ColumnElement[Any] = bindparam(f"new_{column.name}", type_=Text())
    return cast(as_text, JSON)


def _insert(table: Table) -> Any:
    return insert(table).values({column.name: _given(column) for column in table.columns})


def _point(table: Table, columns: Sequence[Column[Any]]) -> Any:
    """Set these columns of the row that has the key."""
    key = [
        column == bindparam(f"new_{column.name}", type_=column.type) for column in table.primary_key.columns
    ]
    # Those that every change renews are to stay as they are.
    kept = {column.name: column for column in table.columns if column.onupdate is not None}
    values = {column.name: bindparam(f"new_{column.name}", type_=column.type) for column in columns}
    return update(table).where(*key).values({**kept, **values})


async def _put(target: AsyncConnection, table: Table, statement: Any, rows: Sequence[Row]) -> None:
    try:
        await target.execute(statement, rows)
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None) or ""
        if state[:2] in ("22", "23"):
            # Values that SQLite takes and PostgreSQL does not: too long, too large.
            reason = str(error.orig).partition("\n")[0].rstrip(".")
            raise NotMoved(
                f"The database refuses a row of {table.name}: {reason}. Nothing was moved."
            ) from None
        raise


async def add_segments(
    target: AsyncConnection, rows: Sequence[Mapping[str, object]], tallies: Tallies, *, write: bool
) -> None:
    """Put rows of `output_segments` that the move makes, and count them in."""
    table: Any = OutputSegment.__table__
    made = [dict(row) for row in rows]
    tallies[table.name].add(table, made)
    if write and made:
        await _put(target, table, _insert(table), [_parameters(table, row) for row in made])


async def set_positions(target: AsyncConnection) -> None:
    """Let each job's position be the last that anything of it has: a follower is told nothing that stands above, and
    what comes gets positions above it."""
    for column in (Task.started_position, Task.finished_position, OutputSegment.last_position):
        of_job = Task.job_id if column.class_ is Task else OutputSegment.job_id
        last = select(func.max(column)).where(of_job == Job.id).scalar_subquery()
        await target.execute(update(Job).where(Job.position < last).values(position=last))


async def verify(target: AsyncConnection, expected: Tallies, *, fresh: bool, say: Say) -> None:
    """Read everything again, and compare it with what should be there. Raises NotMoved."""
    for table in metadata.sorted_tables:
        found = Tally()
        async for rows in pages(target, table):
            found.add(table, rows)
            say(f"{table.name}: {found.rows} of {expected[table.name].rows} rows verified")
        if found != expected[table.name]:
            raise NotMoved(
                f"{table.name}: {found.rows} rows arrived of {expected[table.name].rows}, or not as they were. "
                "Nothing was moved."
                if fresh
                else "DATABASE_URL: the database holds this installation already and has been used since, or was "
                "used before it was moved. Nothing was changed."
            )
