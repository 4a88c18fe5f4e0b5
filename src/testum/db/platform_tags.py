"""The tags of platforms: which are in use, and changing those of many."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from testum.db.base import insert_into
from testum.db.bulk import chunks
from testum.db.platforms import Platform, PlatformTag


async def in_use(session: AsyncSession, limit: int) -> list[tuple[str, int]]:
    """The tags and how many platforms have each, by name."""
    rows = await session.execute(
        select(PlatformTag.tag, func.count()).group_by(PlatformTag.tag).order_by(PlatformTag.tag).limit(limit)
    )
    return [(tag, number) for tag, number in rows]


async def change(
    session: AsyncSession, platform_ids: Sequence[UUID], *, add: Sequence[str], remove: Sequence[str]
) -> list[UUID]:
    """Give the platforms tags and take others from them; those that there are, are returned."""
    present: list[UUID] = []
    connection = await session.connection()
    for chunk in chunks(platform_ids):
        ids = list(
            await session.scalars(
                select(Platform.id).where(Platform.id.in_(chunk)).order_by(Platform.id).with_for_update()
            )
        )
        present += ids
        for tag in remove:
            await session.execute(
                delete(PlatformTag).where(PlatformTag.tag == tag, PlatformTag.platform_id.in_(ids))
            )
        rows = [{"platform_id": platform_id, "tag": tag} for platform_id in ids for tag in add]
        if rows:
            await connection.execute(insert_into(PlatformTag, connection).on_conflict_do_nothing(), rows)
    return present
