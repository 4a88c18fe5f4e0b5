"""SSH keys kept for deployment and for logging in."""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import String, Text, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from testum.db import paging
from testum.db.base import Base, new_id, utc_now
from testum.db.paging import Page, PageRequest
from testum.db.prepared import Prepared


class SSHKey(Base):
    """A public key and, where platforms log in with it, its sealed private half."""

    __tablename__ = "ssh_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    public_key: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(80), index=True)
    algorithm: Mapped[str] = mapped_column(String(64))
    encrypted_private_key: Mapped[str | None] = mapped_column(Text)
    encrypted_passphrase: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(150))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class KeyName(NamedTuple):
    """A key as a list to choose from shows it."""

    id: UUID
    name: str
    algorithm: str


async def get(session: AsyncSession, key_id: UUID) -> SSHKey | None:
    """The key with this id."""
    return await session.get(SSHKey, key_id)


async def newest_secret(session: AsyncSession) -> tuple[UUID, str, str] | None:
    """The key that last came with a private half, the field of that, and it, sealed."""
    sealed = SSHKey.encrypted_private_key
    statement = (
        select(SSHKey.id, sealed).where(sealed.is_not(None)).order_by(SSHKey.created_at.desc()).limit(1)
    )
    row = (await session.execute(statement)).first()
    return (row[0], "private_key", row[1] or "") if row else None


_ALL = select(SSHKey).order_by(SSHKey.id)
_BY_IDS = _ALL.where(SSHKey.id.in_(bindparam("ids", expanding=True)))


async def by_ids(session: AsyncSession, key_ids: Sequence[UUID] | None) -> list[SSHKey]:
    """The keys with these ids, or all, in the order they were made."""
    if key_ids is None:
        return list(await session.scalars(_ALL))
    return list(await session.scalars(_BY_IDS, {"ids": key_ids}))


class SealedKey(NamedTuple):
    """The secrets of a key, sealed."""

    id: UUID
    encrypted_private_key: str | None
    encrypted_passphrase: str | None


_SEALED = Prepared(
    select(*(getattr(SSHKey, name) for name in SealedKey._fields)).where(
        SSHKey.id.in_(bindparam("ids", expanding=True))
    )
)


async def sealed(session: AsyncSession, key_ids: Sequence[UUID]) -> dict[UUID, SealedKey]:
    """The secrets of the keys with these ids that there are."""
    rows = await _SEALED.rows(await session.connection(), {"ids": key_ids}) if key_ids else ()
    return {row[0]: SealedKey(*row) for row in rows}


async def name_of(session: AsyncSession, fingerprint: str) -> str | None:
    """The name of a key with this fingerprint."""
    return await session.scalar(select(SSHKey.name).where(SSHKey.fingerprint == fingerprint).limit(1))


async def find(
    session: AsyncSession, request: PageRequest, *, q: str | None = None, name: str | None = None
) -> Page[SSHKey]:
    """A page of the keys; `q` is looked for in names and fingerprints, `name` is exact."""
    statement = select(SSHKey)
    if name is not None:
        statement = statement.where(SSHKey.name == name)
    if q:
        statement = statement.where(
            SSHKey.name.icontains(q, autoescape=True) | SSHKey.fingerprint.contains(q, autoescape=True)
        )
    return await paging.fetch(
        session,
        statement,
        request,
        sorts={"name": SSHKey.name, "created_at": SSHKey.created_at},
        key=SSHKey.id,
        default_sort="name",
    )


async def names(session: AsyncSession, key_ids: Sequence[UUID] | None) -> list[KeyName]:
    """The keys with these ids, or all, by name."""
    statement = select(SSHKey.id, SSHKey.name, SSHKey.algorithm).order_by(SSHKey.name)
    if key_ids is not None:
        statement = statement.where(SSHKey.id.in_(key_ids))
    return [KeyName(*row) for row in await session.execute(statement)]


async def count(session: AsyncSession) -> int:
    """How many keys there are."""
    return await session.scalar(select(func.count()).select_from(SSHKey)) or 0
