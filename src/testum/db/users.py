"""Accounts and their logins."""

import datetime as dt
from uuid import UUID

from sqlalchemy import ForeignKey, String, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from testum.db.base import Base, new_id, utc_now


class User(Base):
    """An account. `username_key` is the name case-folded, which makes names unique as people see them."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    username: Mapped[str] = mapped_column(String(150))
    username_key: Mapped[str] = mapped_column(String(300), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16))
    must_change_password: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)


class Login(Base):
    """One login of an account: the family of refresh tokens that follow one another.

    Only the hash of the present one is kept: a token that names the login and is another was used before.
    """

    __tablename__ = "logins"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    refresh_hash: Mapped[str] = mapped_column(String(64), unique=True)
    address: Mapped[str] = mapped_column(String(64), default="")
    client: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[dt.datetime] = mapped_column()
    revoked_at: Mapped[dt.datetime | None] = mapped_column()


async def count(session: AsyncSession) -> int:
    """How many accounts there are."""
    return await session.scalar(select(func.count()).select_from(User)) or 0


async def get(session: AsyncSession, user_id: UUID) -> User | None:
    """The account with this id."""
    return await session.get(User, user_id)


async def by_name(session: AsyncSession, username: str) -> User | None:
    """The account with this name, whatever its case."""
    return await session.scalar(select(User).where(User.username_key == username.casefold()))


async def names(session: AsyncSession) -> list[str]:
    """The accounts' names, in their order."""
    return list(await session.scalars(select(User.username).order_by(User.username_key).limit(100)))


_OF_LOGIN = (
    select(User)
    .join(Login, Login.user_id == User.id)
    .where(Login.id == bindparam("login_id"), Login.revoked_at.is_(None), Login.expires_at > bindparam("now"))
)
"""Built once: every request asks this."""


async def of_login(session: AsyncSession, login_id: UUID, now: dt.datetime) -> User | None:
    """The account of a login that is neither revoked nor expired."""
    return await session.scalar(_OF_LOGIN, {"login_id": login_id, "now": now})


async def addresses_of(session: AsyncSession, user_id: UUID, since: dt.datetime) -> set[str]:
    """From where somebody has logged in to an account since then."""
    statement = select(Login.address).where(Login.user_id == user_id, Login.created_at > since).distinct()
    return set(await session.scalars(statement.limit(1000)))


async def lock(session: AsyncSession, user_id: UUID) -> None:
    """Hold the account's row: whoever changes it looks at it only after the one before."""
    await session.execute(select(User.id).where(User.id == user_id).with_for_update())


async def revoke_logins(session: AsyncSession, user_id: UUID, *, keep: UUID | None = None) -> None:
    """End all logins of an account, but for `keep`."""
    statement = update(Login).where(Login.user_id == user_id, Login.revoked_at.is_(None))
    if keep is not None:
        statement = statement.where(Login.id != keep)
    await session.execute(statement.values(revoked_at=utc_now()))
