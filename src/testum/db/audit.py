"""The audit log: who did what to which object, when, from where, and whether it was allowed."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import Index, String, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from testum.db import paging
from testum.db.base import Base, SafeText, new_id, utc_now
from testum.db.paging import Page, PageRequest


class AuditLog(Base):
    """One entry. `user` is the name as it was; `outcome` is `allowed`, `refused` or `failed`."""

    __tablename__ = "audit_logs"
    __table_args__ = (
        Index("ix_audit_logs_timestamp", "timestamp", "id"),
        Index("ix_audit_logs_object", "object_type", "object_id", "timestamp", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user: Mapped[str] = mapped_column(SafeText)
    action: Mapped[str] = mapped_column(String(100))
    object_type: Mapped[str] = mapped_column(String(50), default="")
    object_id: Mapped[str] = mapped_column(String(200), default="")
    outcome: Mapped[str] = mapped_column(String(16), default="allowed")
    address: Mapped[str] = mapped_column(String(64), default="")
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    timestamp: Mapped[dt.datetime] = mapped_column(default=utc_now)


async def find(
    session: AsyncSession,
    request: PageRequest,
    *,
    user: str | None = None,
    action: str | None = None,
    object_type: str | None = None,
    object_id: str | None = None,
    outcome: str | None = None,
    q: str | None = None,
) -> Page[AuditLog]:
    """A page of the entries, newest first; `q` is looked for in users and actions."""
    wanted = {
        AuditLog.user: user,
        AuditLog.action: action,
        AuditLog.object_type: object_type,
        AuditLog.object_id: object_id,
        AuditLog.outcome: outcome,
    }
    statement = select(AuditLog).where(
        *(column == value for column, value in wanted.items() if value is not None)
    )
    if q:
        statement = statement.where(
            AuditLog.user.icontains(q, autoescape=True) | AuditLog.action.icontains(q, autoescape=True)
        )
    return await paging.fetch(
        session,
        statement,
        request,
        sorts={"timestamp": AuditLog.timestamp},
        key=AuditLog.id,
        default_sort="-timestamp",
    )
