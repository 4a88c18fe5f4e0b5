"""Paging by keyset: a page begins after the last row of the one before, whatever was added meanwhile."""

import base64
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Integer, Select, Uuid, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from testum.db.base import UtcDateTime
from testum.errors import InvalidInput

Row = TypeVar("Row")

DEFAULT_LIMIT = 50
MAX_LIMIT = 500


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page: at most `limit` rows after the cursor, sorted by a column (`-` first: descending)."""

    limit: int = DEFAULT_LIMIT
    after: str | None = None
    sort: str | None = None
    counted: bool = True
    """Whether to count all rows, which takes time that grows with their number."""
    before: str | None = None
    """The way back: the rows that end before this cursor. Not with `after`."""
    skip: int = 0
    """So many rows are left out first. Not with a cursor, which stays right while others add and delete."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """The rows, how many there are in all (-1: not counted), and the cursors of the next page and of the previous one
    where there are such."""

    items: Sequence[Row]
    total: int
    next: str | None
    previous: str | None = None


async def fetch(
    session: AsyncSession,
    statement: Select[Row],
    request: PageRequest,
    *,
    sorts: Mapping[str, InstrumentedAttribute[Any]],
    key: InstrumentedAttribute[UUID],
    default_sort: str,
) -> Page[Row]:
    """One page of `statement`. `sorts` names the columns that may be sorted by; none may be NULL.

    Raises InvalidInput for an unknown sort or a cursor that is not ours.
    """
    sort = request.sort or default_sort
    descending, name = sort.startswith("-"), sort.removeprefix("-")
    column = sorts.get(name)
    if column is None:
        raise InvalidInput.field(
            "sort", f"can be {', '.join(sorted(sorts))}, with - in front for descending."
        )
    total = -1
    if request.counted:
        total = (
            await session.scalar(select(func.count()).select_from(statement.order_by(None).subquery())) or 0
        )
    # The way back is the list in the other order, turned round once it is here.
    backwards = bool(request.before)
    descending ^= backwards
    if cursor := request.before or request.after:
        if request.skip:
            raise InvalidInput.field("offset", "does not go with a cursor.")
        value, row_id = _read_cursor(cursor, sort, column)
        beyond = column < value if descending else column > value
        tie = key < row_id if descending else key > row_id
        statement = statement.where(or_(beyond, and_(column == value, tie)))
    order = [column.desc(), key.desc()] if descending else [column.asc(), key.asc()]
    statement = statement.order_by(None).order_by(*order).offset(request.skip or None)
    rows = list(await session.scalars(statement.limit(request.limit + 1)))
    more = len(rows) > request.limit
    rows = rows[: request.limit]
    if backwards:
        rows.reverse()

    def place(row: Row) -> str:
        return _write_cursor(getattr(row, column.key), getattr(row, key.key), sort)

    return Page(
        rows,
        total,
        next=place(rows[-1]) if rows and (more or backwards) else None,
        previous=place(rows[0]) if rows and (more if backwards else request.after) else None,
    )


def _write_cursor(value: Any, row_id: UUID, sort: str) -> str:
    plain = (
        value.isoformat()
        if isinstance(value, dt.datetime)
        else value.hex
        if isinstance(value, UUID)
        else value
    )
    return base64.urlsafe_b64encode(json.dumps([sort, plain, row_id.hex]).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, sort: str, column: InstrumentedAttribute[Any]) -> tuple[Any, UUID]:
    """What the cursor says. Anyone can write one: only a value that the column may hold is taken."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        made_for, value, row_id = json.loads(base64.urlsafe_b64decode(padded))
        if made_for != sort:
            raise ValueError("of another list")
        if isinstance(column.type, UtcDateTime):
            value = dt.datetime.fromisoformat(value).astimezone(dt.UTC)
        elif isinstance(column.type, Uuid):
            value = UUID(value)
        elif isinstance(column.type, Integer):
            if type(value) is not int or not 0 <= value < 2**63:
                raise ValueError("not a number of a row")
        else:
            value.encode()
        return value, UUID(row_id)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InvalidInput.field(
            "after", "is not a cursor of this list; take it from the Link header."
        ) from None
