"""The audit log: who did what to which object, when, from where, and whether it was allowed."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from testum.db.base import Base, SafeText, new_id, utc_now


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
