"""Jump hosts: the platforms that others are reached through, and those behind them."""

from uuid import UUID

from sqlalchemy import CTE, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from testum.db.platforms import HostKeyRecord, Platform


async def get_locked(session: AsyncSession, platform_id: UUID) -> Platform | None:
    """The platform with this id as it is now. Until the transaction ends nobody else changes it, nor those behind it, and no
    first host key is kept of one of them."""
    behind = _behind(platform_id)
    own = select(Platform.id).where((Platform.id == platform_id) | Platform.id.in_(select(behind.c.id)))
    # In one order, as first host keys are kept.
    await session.execute(own.order_by(Platform.id).with_for_update(of=Platform))
    return await session.get(Platform, platform_id, populate_existing=True)


async def void_behind(session: AsyncSession, platform_id: UUID) -> None:
    """Give those that are reached through this one a new revision: what was connected to before may be another host."""
    behind = _behind(platform_id)
    await session.execute(
        update(Platform)
        .where(Platform.id.in_(select(behind.c.id)))
        # Nobody has changed the platforms.
        .values(revision=Platform.revision + 1, updated_at=Platform.updated_at)
        .execution_options(synchronize_session=False)
    )


def _behind(platform_id: UUID) -> CTE:
    """The ids of the platforms that are reached through this one, directly or not."""
    behind = select(Platform.id).where(Platform.jump_platform_id == platform_id).cte(recursive=True)
    return behind.union(select(Platform.id).join(behind, Platform.jump_platform_id == behind.c.id))


async def names(session: AsyncSession, limit: int) -> list[str]:
    """The names of platforms that others are reached through."""
    through = select(Platform.jump_platform_id).where(Platform.jump_platform_id.is_not(None))
    return list(
        await session.scalars(
            select(Platform.name).where(Platform.id.in_(through)).order_by(Platform.name).limit(limit)
        )
    )


async def users(session: AsyncSession, platform_id: UUID) -> list[str]:
    """Names of up to five platforms that are reached through this one."""
    return list(
        await session.scalars(select(Platform.name).where(Platform.jump_platform_id == platform_id).limit(5))
    )


async def exposed_behind(session: AsyncSession, platform_id: UUID) -> list[str]:
    """Names of up to five platforms that are reached through this one, directly or not, and would give a stored secret to
    whoever answers: they trust no host key yet."""
    behind = _behind(platform_id)
    secret = Platform.encrypted_password.is_not(None) | Platform.encrypted_private_key.is_not(None)
    trusts_none = ~select(HostKeyRecord.platform_id).where(HostKeyRecord.platform_id == Platform.id).exists()
    statement = select(Platform.name).where(Platform.id.in_(select(behind.c.id)), secret, trusts_none)
    return list(await session.scalars(statement.order_by(Platform.name).limit(5)))
