"""What all tables share: the metadata, the column types and the naming of constraints."""

import datetime as dt
import json
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, DateTime, Dialect, MetaData, Text, TypeDecorator, Uuid
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import DeclarativeBase
from uuid_utils.compat import uuid7

__all__ = ["Base", "SafeText", "UtcDateTime", "insert_into", "new_id", "utc_now"]


def new_id() -> UUID:
    """A fresh id: UUID version 7 (RFC 9562), so that ids sort by the time they were made."""
    return uuid7()


def utc_now() -> dt.datetime:
    """The present moment, with its offset."""
    return dt.datetime.now(dt.UTC)


def insert_into(table: type["Base"], connection: AsyncConnection) -> Any:
    """An INSERT in the connection's dialect: both know ON CONFLICT, and SQLAlchemy's own INSERT does not. The other
    dialect is not imported."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A moment. Stored as UTC; SQLite has no time zones, so that the offset is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        return value.astimezone(dt.UTC).replace(tzinfo=None if dialect.name == "sqlite" else dt.UTC)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        return value.replace(tzinfo=dt.UTC) if value is not None and value.tzinfo is None else value


class SafeText(TypeDecorator[str]):
    """Text that remote hosts wrote. NUL, which PostgreSQL's text cannot hold, is shown as U+2400."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value.replace("\0", "\u2400") if value else value


class Base(DeclarativeBase):
    """The base of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a plain class attribute
        UUID: Uuid(),
        dt.datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
    }


def dump_json(value: Any) -> str:
    """How JSON columns are written."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
