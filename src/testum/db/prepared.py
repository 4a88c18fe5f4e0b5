"""Statements that are done for each task of each job: compiled once, and on SQLite given to the driver as they are.

What SQLAlchemy does for each execution (bound parameters, a result and its types, a visit to the connection's thread) takes
a hundred times as long as SQLite itself takes to find or change a row by its key.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import repeat
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from testum.db.base import dump_json

_Processor = Callable[[Any], Any]


@lru_cache(1)
def _dialect() -> Any:
    from sqlalchemy.dialects.sqlite import aiosqlite

    return aiosqlite.dialect(json_serializer=dump_json)


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One `?` of a statement, or the place of a list."""

    name: str
    constant: Any
    default: _Processor | None
    """Makes the value of a column that is given none (of an execution context, which none of ours asks for)."""
    processor: _Processor | None

    def of_each(self, rows: Sequence[Mapping[str, Any]]) -> Iterable[Any]:
        """What is bound for each of the rows."""
        if self.default is not None:
            values = [self.default(None) for _ in rows]
        elif self.name in rows[0]:
            values = [row[self.name] for row in rows]
        else:
            return repeat(self.converted([self.constant])[0], len(rows))
        return self.converted(values)

    def converted(self, values: list[Any]) -> list[Any]:
        """Values as SQLite takes them."""
        processor = self.processor
        return values if processor is None else [processor(value) for value in values]


class Prepared:
    """One statement, which finds or changes few rows by their keys: on SQLite the event loop waits for it, as soon as the
    transaction has begun."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement

    async def rows(self, connection: AsyncConnection, given: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """What it selects. A list that is given for an `IN` must not be empty."""
        if connection.dialect.name != "sqlite":
            return (await connection.execute(self._statement, given)).all()
        compiled = self._on_sqlite
        text, parameters = compiled.expanded(given)
        found: list[Any] = []
        await self._do(connection, lambda driver: found.extend(driver.execute(text, parameters)))
        return compiled.read(found)

    async def each(self, connection: AsyncConnection, given: Sequence[Mapping[str, Any]]) -> int:
        """Do it for each of the rows, of which there is one at least; how many it changed."""
        if connection.dialect.name != "sqlite":
            return (await connection.execute(self._statement, list(given))).rowcount
        compiled = self._on_sqlite
        rows = list(zip(*(parameter.of_each(given) for parameter in compiled.parameters), strict=True))
        changed: list[int] = []
        await self._do(
            connection, lambda driver: changed.append(driver.executemany(compiled.text, rows).rowcount)
        )
        return changed[0]

    async def _do(self, connection: AsyncConnection, work: Callable[[sqlite3.Connection], None]) -> None:
        proxied: Any = connection.sync_connection
        try:
            await proxied.connection.driver_connection.visit_shortly(work)
        except sqlite3.Error as error:
            raise DBAPIError.instance(self._on_sqlite.text, None, error, sqlite3.Error) from error

    @cached_property
    def _on_sqlite(self) -> "_OnSqlite":
        return _OnSqlite(self._statement)


class _OnSqlite:
    """A statement as SQLite takes it. SQLAlchemy shows how it converts values only by names that begin with an underscore;
    tests/db/test_prepared.py holds each kind of column against what it does itself."""

    def __init__(self, statement: Any) -> None:
        compiled = statement.compile(dialect=_dialect())
        self.text: str = compiled.string
        defaults = {column.key: column.onupdate.arg for column in compiled.update_prefetch}
        self.parameters = [
            _Parameter(
                name, compiled.params.get(name), defaults.get(name), compiled._bind_processors.get(name)
            )
            for name in compiled.positiontup
        ]
        places = {name: f"(__[POSTCOMPILE_{name}])" for name in compiled.positiontup}
        self._lists = {name: place for name, place in places.items() if place in self.text}
        self._processors: list[_Processor | None] = [
            column.type.dialect_impl(_dialect()).result_processor(_dialect(), None)
            for column in compiled._result_columns
        ]

    def expanded(self, given: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """The text with a `?` for each value of a list, and all values."""
        text, values = self.text, []
        for parameter in self.parameters:
            if place := self._lists.get(parameter.name):
                several = parameter.converted(list(given[parameter.name]))
                text = text.replace(place, f"({', '.join('?' * len(several))})")
                values += several
            else:
                values += parameter.of_each([given])
        return text, values

    def read(self, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        """The rows with values of Python's kinds."""
        if not any(self._processors):
            return rows
        return [
            [
                value if kind is None else kind(value)
                for kind, value in zip(self._processors, row, strict=True)
            ]
            for row in rows
        ]
