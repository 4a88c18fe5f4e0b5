"""Which platforms are meant: the targets of a job, the filter of a list, and what is named and not there."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from testum.core.states import TROUBLE, StateFilter
from testum.core.targets import Targets, is_pattern, name_matcher, pattern_to_like, text_to_like
from testum.db import paging
from testum.db.bulk import chunks, read_ids
from testum.db.paging import Page, PageRequest
from testum.db.platforms import BRIEF, Platform, PlatformTag

T = TypeVar("T")

_MOST_PATTERNS = 100
"""Above so many the names are compared here and not by the database."""


class Target(NamedTuple):
    """A platform that is selected for a job."""

    id: UUID
    name: str
    zone: str


def _conditions(q: str | None, tag: str | None, state: str | None) -> list[ColumnElement[bool]]:
    """What a list's filter asks of a platform."""
    asked: list[ColumnElement[bool]] = []
    if q and (like := text_to_like(q)):
        asked.append(Platform.name.ilike(like, escape="\\") | Platform.host.ilike(like, escape="\\"))
    elif q:
        asked.append(
            Platform.name.icontains(q, autoescape=True)
            | Platform.host.icontains(q, autoescape=True)
            | Platform.description.icontains(q, autoescape=True)
        )
    if tag:
        asked.append(_has(tag))
    if state:
        in_trouble = state == StateFilter.ATTENTION
        asked.append(Platform.state.in_(TROUBLE) if in_trouble else Platform.state == state)
    return asked


async def find(
    session: AsyncSession,
    request: PageRequest,
    *,
    q: str | None = None,
    name: str | None = None,
    tag: str | None = None,
    state: str | None = None,
    brief: bool = False,
) -> Page[Platform]:
    """A page of the platforms. `q` is looked for in name, host and description, or with `*` and `?` is a pattern
    for name or host; `name` is exact. `brief` ones have their id, name and state, and nothing else."""
    statement = select(Platform).where(*_conditions(q, tag, state))
    if name is not None:
        statement = statement.where(Platform.name == name)
    if brief:
        statement = statement.options(*BRIEF)
    return await paging.fetch(
        session,
        statement,
        request,
        sorts={
            "name": Platform.name,
            "host": Platform.host,
            "created_at": Platform.created_at,
            "state": Platform.state,
        },
        key=Platform.id,
        default_sort="name",
    )


async def matching(
    session: AsyncSession, q: str | None, tag: str | None, state: str | None, *, limit: int
) -> list[str]:
    """The ids, as 32 hexadecimal digits, of the first platforms by name that a list's filter lets through."""
    statement = select(Platform.id).where(*_conditions(q, tag, state)).order_by(Platform.name)
    return await read_ids(session, statement.limit(limit))


def _asked(targets: Targets) -> list[ColumnElement[bool]]:
    """What the database can tell of what `targets` ask of a platform: all but its id and its name."""
    # A tag that is empty is no platform's: it must not be taken for one that is not asked for.
    return [*_conditions(targets.q, None, targets.state), *map(_has, dict.fromkeys(targets.tags))]


def _has(tag: str) -> ColumnElement[bool]:
    return Platform.id.in_(select(PlatformTag.platform_id).where(PlatformTag.tag == tag))


async def count_targets(session: AsyncSession, targets: Targets) -> int:
    """How many platforms `targets` selects."""
    if targets.names or targets.platform_ids:
        return len(await select_targets(session, targets))
    return await session.scalar(select(func.count()).select_from(Platform).where(*_asked(targets))) or 0


async def select_targets(session: AsyncSession, targets: Targets) -> list[Target]:
    """The platforms that `targets` selects, ordered by name."""
    base = select(Platform.id, Platform.name, Platform.zone).where(*_asked(targets))
    if targets.names:
        exact = [name for name in targets.names if not is_pattern(name)]
        patterns = [name for name in targets.names if is_pattern(name)]
        # Each pattern makes SQLite's tree of expressions one deeper, and 1000 is its limit. With so many the
        # rest of the work is done below.
        if len(patterns) <= _MOST_PATTERNS:
            wanted = [Platform.name.like(pattern_to_like(pattern), escape="\\") for pattern in patterns]
            base = base.where(or_(Platform.name.in_(exact), *wanted))
    found: dict[UUID, Target] = {}
    for chunk in chunks(targets.platform_ids) if targets.platform_ids else (None,):
        rows = await session.execute(base if chunk is None else base.where(Platform.id.in_(chunk)))
        found.update({row.id: Target(*row) for row in rows})
    selected: Iterable[Target] = found.values()
    if targets.names:
        fits = name_matcher(targets.names)
        selected = [target for target in selected if fits(target.name)]
    return sorted(selected, key=lambda target: target.name)


async def missing_ids(session: AsyncSession, platform_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the ids that are no platform's."""
    return await _missing(session, Platform.id, platform_ids)


async def missing_names(session: AsyncSession, names: Sequence[str]) -> list[str]:
    """Those of the names, patterns apart, that are no platform's."""
    exact = [name for name in dict.fromkeys(names) if not is_pattern(name)]
    return await _missing(session, Platform.name, exact)


async def missing_tags(session: AsyncSession, tags: Sequence[str]) -> list[str]:
    """Those of the tags that no platform has."""
    return await _missing(session, PlatformTag.tag, tags)


async def _missing(session: AsyncSession, column: InstrumentedAttribute[T], values: Sequence[T]) -> list[T]:
    found: set[T] = set()
    for chunk in chunks(values):
        found.update(await session.scalars(select(column).where(column.in_(chunk)).distinct()))
    return [value for value in values if value not in found]
