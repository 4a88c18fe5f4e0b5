"""Platforms: their tables, with tags and trusted host keys, and their rows by id, name or key."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, joinedload, load_only, mapped_column, raiseload, relationship

from testum.core.shards import DEFAULT_ZONE
from testum.core.states import PlatformState
from testum.db.base import Base, new_id, utc_now
from testum.db.bulk import chunks


class PlatformTag(Base):
    """One tag of one platform."""

    __tablename__ = "platform_tags"
    __table_args__ = (Index("ix_platform_tags_tag", "tag", "platform_id"),)

    platform_id: Mapped[UUID] = mapped_column(
        ForeignKey("platforms.id", ondelete="CASCADE"), primary_key=True
    )
    tag: Mapped[str] = mapped_column(String(100), primary_key=True)


class HostKeyRecord(Base):
    """A host key that a platform is trusted by. Full keys are compared, never only fingerprints."""

    __tablename__ = "host_keys"

    platform_id: Mapped[UUID] = mapped_column(
        ForeignKey("platforms.id", ondelete="CASCADE"), primary_key=True
    )
    fingerprint: Mapped[str] = mapped_column(String(80), primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(64))
    public_key: Mapped[str] = mapped_column(Text)
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class Platform(Base):
    """A remote host. `revision` grows with every change to how it is reached, so that pooled
    connections made before the change are not used after it. It is in its `state` since `state_at`."""

    __tablename__ = "platforms"
    __table_args__ = (Index("ix_platforms_state", "state", "name"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    host: Mapped[str] = mapped_column(String(255))
    port: Mapped[int] = mapped_column(default=22)
    username: Mapped[str] = mapped_column(String(150))
    auth_method: Mapped[str] = mapped_column(String(16))
    encrypted_password: Mapped[str | None] = mapped_column(Text)
    encrypted_private_key: Mapped[str | None] = mapped_column(Text)
    encrypted_passphrase: Mapped[str | None] = mapped_column(Text)
    key_id: Mapped[UUID | None] = mapped_column(ForeignKey("ssh_keys.id", ondelete="RESTRICT"), index=True)
    jump_platform_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("platforms.id", ondelete="RESTRICT"), index=True
    )
    known_host_fingerprint: Mapped[str | None] = mapped_column(String(80))
    host_key_policy: Mapped[str | None] = mapped_column(String(16))
    shell: Mapped[str] = mapped_column(String(16), default="posix")
    old_algorithms: Mapped[str] = mapped_column(String(400), default="", server_default="")
    """Their names, with a space between them (core/algorithms.py)."""
    zone: Mapped[str] = mapped_column(String(63), default=DEFAULT_ZONE, server_default=DEFAULT_ZONE)
    description: Mapped[str] = mapped_column(Text, default="")
    facts: Mapped[dict[str, Any] | None] = mapped_column()
    facts_at: Mapped[dt.datetime | None] = mapped_column()
    state: Mapped[str] = mapped_column(
        String(24), default=PlatformState.UNKNOWN, server_default=PlatformState.UNKNOWN
    )
    state_at: Mapped[dt.datetime | None] = mapped_column()
    revision: Mapped[int] = mapped_column(default=1)
    created_by: Mapped[str] = mapped_column(String(150), default="")
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[dt.datetime] = mapped_column(default=utc_now, onupdate=utc_now)

    tag_rows: Mapped[list[PlatformTag]] = relationship(
        lazy="selectin", cascade="all, delete-orphan", passive_deletes=True, order_by=PlatformTag.tag
    )
    host_keys: Mapped[list[HostKeyRecord]] = relationship(
        lazy="selectin", cascade="all, delete-orphan", passive_deletes=True, order_by=HostKeyRecord.created_at
    )

    @property
    def by_password(self) -> bool:
        """Whether its login takes a password."""
        return by_password(self.auth_method)

    @property
    def by_key(self) -> bool:
        """Whether its login takes a private key."""
        return by_key(self.auth_method)

    @property
    def tags(self) -> list[str]:
        """The tags, in order."""
        return [row.tag for row in self.tag_rows]


def by_password(auth_method: str) -> bool:
    """Whether this way to log in takes a password, alone or as one of two steps."""
    return auth_method != "private_key"


def by_key(auth_method: str) -> bool:
    """Whether this way to log in takes a private key, alone or as one of two steps."""
    return auth_method != "password"


BRIEF = (load_only(Platform.name, Platform.state, raiseload=True), raiseload("*"))
"""Options for a statement whose platforms need no more than id, name and state: tags and host keys would take two more statements."""


async def get(session: AsyncSession, platform_id: UUID) -> Platform | None:
    """The platform with this id."""
    return await session.get(Platform, platform_id)


async def revision_of(session: AsyncSession, platform_id: UUID) -> int | None:
    """The platform's revision, if there is one with this id."""
    return await session.scalar(select(Platform.revision).where(Platform.id == platform_id))


async def newest_secret(session: AsyncSession) -> tuple[UUID, str, str] | None:
    """The platform that last got a credential of its own, the field of one of its secrets, and that, sealed."""
    password, key = Platform.encrypted_password, Platform.encrypted_private_key
    statement = (
        select(Platform.id, password, key)
        .where(password.is_not(None) | key.is_not(None))
        .order_by(Platform.updated_at.desc())
        .limit(1)
    )
    row = (await session.execute(statement)).first()
    if row is None:
        return None
    return (row[0], "password", row[1]) if row[1] is not None else (row[0], "private_key", row[2] or "")


_BY_IDS = (
    select(Platform)
    .options(raiseload(Platform.tag_rows), joinedload(Platform.host_keys))
    .where(Platform.id.in_(bindparam("ids", expanding=True)))
)


async def by_ids(session: AsyncSession, platform_ids: Sequence[UUID]) -> dict[UUID, Platform]:
    """The platforms with these ids that there are; their tags are not loaded."""
    found: dict[UUID, Platform] = {}
    for chunk in chunks(platform_ids):
        rows = await session.scalars(_BY_IDS, {"ids": chunk})
        found |= {platform.id: platform for platform in rows.unique()}
    return found


async def by_name(session: AsyncSession) -> dict[str, Platform]:
    """All platforms."""
    return {platform.name: platform for platform in await session.scalars(select(Platform))}


async def users_of_key(session: AsyncSession, key_id: UUID, limit: int) -> list[Platform]:
    """The first platforms by name that log in with this key, brief (BRIEF)."""
    statement = select(Platform).where(Platform.key_id == key_id).options(*BRIEF)
    return list(await session.scalars(statement.order_by(Platform.name).limit(limit)))


async def set_facts(
    session: AsyncSession, platform_id: UUID, facts: dict[str, object], now: dt.datetime
) -> None:
    """Keep what was gathered about a platform, unless it was deleted meanwhile."""
    await session.execute(
        update(Platform).where(Platform.id == platform_id).values(facts=facts, facts_at=now)
    )


async def delete_many(
    session: AsyncSession, platform_ids: Sequence[UUID]
) -> tuple[list[tuple[UUID, str]], list[str]]:
    """Delete platforms but for those that others, which stay, are reached through. Ids and names of the deleted,
    and names of those that stayed."""
    wanted = await by_ids(session, platform_ids)
    jumps = await session.execute(
        select(Platform.id, Platform.jump_platform_id).where(Platform.jump_platform_id.is_not(None))
    )
    leads_to: dict[UUID, set[UUID]] = {}
    for platform_id, jump_id in jumps:
        if jump_id is not None:
            leads_to.setdefault(jump_id, set()).add(platform_id)
    gone = set(wanted)
    # One that stays keeps the one it is reached through, and so on.
    while stuck := {key for key in gone if leads_to.get(key, set()) - gone}:
        gone -= stuck
    ids = sorted(gone)
    for chunk in chunks(ids):
        await session.execute(update(Platform).where(Platform.id.in_(chunk)).values(jump_platform_id=None))
        await session.execute(
            delete(Platform).where(Platform.id.in_(chunk)).execution_options(synchronize_session=False)
        )
    names = sorted((wanted[key].name, key) for key in gone)
    return [(key, name) for name, key in names], sorted(
        platform.name for key, platform in wanted.items() if key not in gone
    )


async def count(session: AsyncSession) -> int:
    """How many platforms there are."""
    return await session.scalar(select(func.count()).select_from(Platform)) or 0
