"""Platforms, their tags and the host keys seen on them."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ForeignKey,
    Index,
    String,
    Text,
    Uuid,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, joinedload, load_only, mapped_column, raiseload, relationship

from testum.core.shards import DEFAULT_ZONE
from testum.core.states import PlatformState
from testum.db.base import Base, UtcDateTime, insert_into, new_id, utc_now
from testum.db.many import UpdateEach, chunks
from testum.db.prepared import Prepared


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


async def revision_of(session: AsyncSession, platform_id: UUID) -> int | None:
    """The platform's revision, if there is one with this id."""
    return await session.scalar(select(Platform.revision).where(Platform.id == platform_id))


def _behind(platform_id: UUID) -> CTE:
    """The ids of the platforms that are reached through this one, directly or not."""
    behind = select(Platform.id).where(Platform.jump_platform_id == platform_id).cte(recursive=True)
    return behind.union(select(Platform.id).join(behind, Platform.jump_platform_id == behind.c.id))


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


async def jump_names(session: AsyncSession, limit: int) -> list[str]:
    """The names of platforms that others are reached through."""
    through = select(Platform.jump_platform_id).where(Platform.jump_platform_id.is_not(None))
    return list(
        await session.scalars(
            select(Platform.name).where(Platform.id.in_(through)).order_by(Platform.name).limit(limit)
        )
    )


async def users_of_jump(session: AsyncSession, platform_id: UUID) -> list[str]:
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


async def set_facts(
    session: AsyncSession, platform_id: UUID, facts: dict[str, object], now: dt.datetime
) -> None:
    """Keep what was gathered about a platform, unless it was deleted meanwhile."""
    await session.execute(
        update(Platform).where(Platform.id == platform_id).values(facts=facts, facts_at=now)
    )


_FINGERPRINTS_LOCKED = (
    select(Platform.id, Platform.revision, Platform.known_host_fingerprint)
    .where(Platform.id.in_(bindparam("ids", expanding=True)))
    .order_by(Platform.id)
    .with_for_update()
)
# RETURNING makes one statement of many rows.
_ADD_HOST_KEYS = insert(HostKeyRecord).returning(HostKeyRecord.platform_id)
_SET_FINGERPRINT = UpdateEach(
    lambda given: (
        update(Platform).where(Platform.id == given["of"]).values(known_host_fingerprint=given["now"])
    ),
    of=Uuid(),
    now=String(),
)


async def trust_first_use(
    session: AsyncSession, seen: Sequence[tuple[UUID, int, str, str, str]]
) -> list[str | None]:
    """Keep the first host keys seen (platform id, its revision that was connected to, algorithm, public key, fingerprint)
    of platforms that have none. Returns for each the public key that its platform is trusted by afterwards; None where it
    was deleted, or its reach changed, meanwhile: the key is another host's then."""
    # As few statements as can be: a fan-out over new hosts does this for each of them.
    connection = await session.connection()
    # Locked: of two workers that see the platform for the first time, one decides.
    locked = await connection.execute(
        _FINGERPRINTS_LOCKED, {"ids": [platform_id for platform_id, *_ in seen]}
    )
    revisions, fingerprints = {}, {}
    for row in locked:
        revisions[row.id], fingerprints[row.id] = row.revision, row.known_host_fingerprint
    trusted: dict[UUID, str] = {}
    if had := [platform_id for platform_id, fingerprint in fingerprints.items() if fingerprint is not None]:
        stored = await connection.execute(
            select(HostKeyRecord.platform_id, HostKeyRecord.public_key).where(
                HostKeyRecord.platform_id.in_(had)
            )
        )
        trusted = {row.platform_id: row.public_key for row in stored}
    new: list[dict[str, Any]] = []
    for platform_id, revision, algorithm, public_key, fingerprint in seen:
        if revisions.get(platform_id) == revision and platform_id not in trusted:
            trusted[platform_id] = public_key
            new.append(
                {
                    "platform_id": platform_id,
                    "algorithm": algorithm,
                    "public_key": public_key,
                    "fingerprint": fingerprint,
                    "created_at": utc_now(),
                }
            )
    if new:
        await connection.execute(_ADD_HOST_KEYS, new)
        await _SET_FINGERPRINT.execute(
            connection, [{"of": row["platform_id"], "now": row["fingerprint"]} for row in new]
        )
    return [
        trusted.get(platform_id) if revisions.get(platform_id) == revision else None
        for platform_id, revision, *_ in seen
    ]


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


async def tags_in_use(session: AsyncSession, limit: int) -> list[tuple[str, int]]:
    """The tags and how many platforms have each, by name."""
    rows = await session.execute(
        select(PlatformTag.tag, func.count()).group_by(PlatformTag.tag).order_by(PlatformTag.tag).limit(limit)
    )
    return [(tag, number) for tag, number in rows]


async def change_tags(
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
