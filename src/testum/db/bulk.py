"""Statements for many rows: changing each to values of its own, naming many by their ids, and reading the ids of
many."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Select, Text, Update, bindparam, cast, column, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.types import JSON, TypeEngine

from testum.db.base import dump_json
from testum.db.prepared import Prepared

T = TypeVar("T")

_IN_CHUNK = 5_000
"""SQLite takes 32,766 parameters in a statement; PostgreSQL's driver 65,535."""

Given = Mapping[str, ColumnElement[Any]]
"""What is given for each row, by name."""

BY_ID = attrgetter("int")
"""What ids are sorted by: comparing integers is quicker than comparing UUIDs, and the order is the same."""


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values in parts that fit into one statement: databases take only so many parameters."""
    for start in range(0, len(values), _IN_CHUNK):
        yield values[start : start + _IN_CHUNK]


async def read_ids(session: AsyncSession, statement: Select[UUID]) -> list[str]:
    """The ids that a statement selects, in its order, as 32 hexadecimal digits like `UUID.hex`.

    The database puts them together into one text: ten thousand rows, and as many UUIDs, take several times as long.
    Both databases join what an ordered subquery gives in its order, SQLite by how it plans (it drops such an ORDER BY
    for count, min and max only), PostgreSQL as its manual says of aggregate functions.
    """
    (of_each,) = statement.subquery().c
    joined = func.replace(func.aggregate_strings(cast(of_each, Text), " "), "-", "")
    return (await session.scalar(select(joined)) or "").split()


class UpdateEach:
    """An UPDATE that is done for each of many rows.

    On PostgreSQL it is one statement over arrays, which is parsed and planned once and waited for once; SQLite has no
    arrays, and is not far away: there the statement is done row by row.
    """

    def __init__(self, make: Callable[[Given], Update], **given: TypeEngine[Any]) -> None:
        """`make` makes the statement of what is given for a row. The names must not be those of the table's
        columns."""
        self._names = list(given)
        self._of_one = Prepared(make({name: bindparam(name, type_=kind) for name, kind in given.items()}))
        # PostgreSQL's driver makes arrays of what JSON is written as, but not of JSON.
        sent = {name: Text() if isinstance(kind, JSON) else kind for name, kind in given.items()}
        rows = (
            func.unnest(*(bindparam(name, type_=ARRAY(kind)) for name, kind in sent.items()))
            .table_valued(*(column(name, kind) for name, kind in sent.items()), name="given")
            .render_derived()
        )
        self._of_arrays = make(
            {
                name: cast(rows.c[name], kind) if isinstance(kind, JSON) else rows.c[name]
                for name, kind in given.items()
            }
        )
        self._json = {name for name, kind in given.items() if isinstance(kind, JSON)}

    async def execute(self, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Do it for each of the rows, in their order as far as the database keeps to one; how many it changed."""
        if not rows:
            return 0
        if connection.dialect.name == "sqlite":
            return await self._of_one.each(connection, rows)
        arrays = {
            name: [dump_json(row[name]) if name in self._json else row[name] for row in rows]
            for name in self._names
        }
        return (await connection.execute(self._of_arrays, arrays)).rowcount
