"""Keys of requests that may be sent again, and the jobs that they started."""

import datetime as dt
from uuid import UUID

from sqlalchemy import ForeignKey, String, delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from testum.core.idempotency import KEPT, MAX_KEY, Once
from testum.db.base import Base
from testum.db.session import database_now


class IdempotencyKey(Base):
    """An account's key. `job_id` is no foreign key: the key is written before the job, so that of several requests at once
    one alone does the work."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(MAX_KEY), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[UUID] = mapped_column()
    created_at: Mapped[dt.datetime] = mapped_column(index=True)


async def find(session: AsyncSession, user_id: UUID, key: str) -> IdempotencyKey | None:
    """The account's key, if it was used within the time that keys are kept."""
    found = await session.get(IdempotencyKey, (user_id, key))
    if found is None or found.created_at <= await database_now(session) - KEPT:
        return None
    return found


async def add(session: AsyncSession, user_id: UUID, once: Once, job_id: UUID) -> None:
    """Write down that the key starts this job. Raises IntegrityError where another request has used it meanwhile; before
    that it waits for the other's end."""
    now = await database_now(session)
    await session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.user_id == user_id,
            IdempotencyKey.key == once.key,
            IdempotencyKey.created_at <= now - KEPT,
        )
    )
    session.add(
        IdempotencyKey(
            user_id=user_id, key=once.key, fingerprint=once.fingerprint, job_id=job_id, created_at=now
        )
    )
    await session.flush()


async def forget(session: AsyncSession) -> None:
    """Remove the keys that are kept no longer."""
    now = await database_now(session)
    await session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at <= now - KEPT))
