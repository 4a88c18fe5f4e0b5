"""The states of platforms: what tasks said about them last."""

import datetime as dt
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import String, Uuid, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.states import PlatformState
from testum.db.base import UtcDateTime
from testum.db.bulk import UpdateEach, chunks
from testum.db.platforms import Platform
from testum.db.prepared import Prepared

_IN_ANOTHER_STATE = Prepared(
    select(Platform.id).where(
        Platform.id.in_(bindparam("ids", expanding=True)), Platform.state != bindparam("now")
    )
)
_SET_STATE = UpdateEach(
    lambda given: (
        update(Platform)
        .where(Platform.id == given["of"])
        # Nobody has changed the platform.
        .values(state=given["now"], state_at=given["at"], updated_at=Platform.updated_at)
    ),
    of=Uuid(),
    now=String(),
    at=UtcDateTime(),
)


async def set_states(session: AsyncSession, states: Mapping[UUID, PlatformState], now: dt.datetime) -> None:
    """Keep what tasks said about their platforms, where it is news."""
    connection = await session.connection()
    news: list[UUID] = []
    for state in set(states.values()):
        for chunk in chunks([key for key, each in states.items() if each == state]):
            rows = await _IN_ANOTHER_STATE.rows(connection, {"ids": chunk, "now": state})
            news += [platform_id for (platform_id,) in rows]
    # In the order of ids, as everybody else locks them; those that are not changed are not locked.
    changed = [{"of": key, "now": states[key], "at": now} for key in sorted(news)]
    await _SET_STATE.execute(connection, changed)


async def count_by_state(session: AsyncSession) -> dict[str, int]:
    """How many platforms are in each state that any is in."""
    rows = await session.execute(select(Platform.state, func.count()).group_by(Platform.state))
    return {row[0]: row[1] for row in rows}


async def in_states(session: AsyncSession, states: Sequence[str], limit: int) -> list[Platform]:
    """The first platforms by name that are in one of these states."""
    return list(
        await session.scalars(
            select(Platform).where(Platform.state.in_(states)).order_by(Platform.name).limit(limit)
        )
    )
