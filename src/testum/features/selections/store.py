"""Saved selections: platforms that are chosen together again and again, under a name that the team shares."""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, String, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from testum.core.targets import Targets
from testum.db import paging
from testum.db.base import Base, new_id, utc_now
from testum.db.paging import Page, PageRequest
from testum.db.platforms import Platform
from testum.db.targets import Target


class Selection(Base):
    """A selection. `criteria` has what it asks of a platform, or nothing where `picked` platforms were picked one by
    one. `revision` grows with every change, so that nobody saves over what they have not seen."""

    __tablename__ = "selections"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    criteria: Mapped[dict[str, Any]] = mapped_column()
    picked: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int] = mapped_column(default=1)
    created_by: Mapped[str] = mapped_column(String(150))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    updated_by: Mapped[str] = mapped_column(String(150))
    updated_at: Mapped[dt.datetime] = mapped_column(default=utc_now)

    @property
    def targets(self) -> Targets:
        """What it asks for, without the platforms that were picked."""
        asked = self.criteria
        return Targets(
            names=tuple(asked.get("names", ())),
            tags=tuple(asked.get("tags", ())),
            all=bool(asked.get("all")),
            q=asked.get("q", ""),
            state=asked.get("state", ""),
        )


class SelectionPlatform(Base):
    """A platform that was picked for a selection, with its name at that time. The row outlives the platform, so that
    a selection can say which of its platforms are gone."""

    __tablename__ = "selection_platforms"

    selection_id: Mapped[UUID] = mapped_column(
        ForeignKey("selections.id", ondelete="CASCADE"), primary_key=True
    )
    platform_id: Mapped[UUID] = mapped_column(primary_key=True)
    platform_name: Mapped[str] = mapped_column(String(200))


async def get(session: AsyncSession, selection_id: UUID, *, lock: bool = False) -> Selection | None:
    """The selection with this id."""
    return await session.get(Selection, selection_id, with_for_update=lock)


async def find(
    session: AsyncSession, request: PageRequest, *, q: str | None = None, name: str | None = None
) -> Page[Selection]:
    """A page of the selections; `q` is looked for in names, `name` is exact."""
    statement = select(Selection)
    if q:
        statement = statement.where(Selection.name.icontains(q, autoescape=True))
    if name is not None:
        statement = statement.where(Selection.name == name)
    return await paging.fetch(
        session,
        statement,
        request,
        sorts={
            "name": Selection.name,
            "created_at": Selection.created_at,
            "updated_at": Selection.updated_at,
        },
        key=Selection.id,
        default_sort="name",
    )


async def count(session: AsyncSession) -> int:
    """How many selections there are."""
    return await session.scalar(select(func.count()).select_from(Selection)) or 0


async def put_picked(session: AsyncSession, selection_id: UUID, platforms: Sequence[Target]) -> None:
    """Let the selection have these platforms and no others."""
    await session.execute(delete(SelectionPlatform).where(SelectionPlatform.selection_id == selection_id))
    rows = [
        {"selection_id": selection_id, "platform_id": platform.id, "platform_name": platform.name}
        for platform in platforms
    ]
    if rows:
        await session.execute(insert(SelectionPlatform), rows)


async def picked(session: AsyncSession, selection_id: UUID) -> list[Target]:
    """The platforms that were picked and are there, by name."""
    rows = await session.execute(
        select(Platform.id, Platform.name, Platform.zone)
        .join(SelectionPlatform, SelectionPlatform.platform_id == Platform.id)
        .where(SelectionPlatform.selection_id == selection_id)
        .order_by(Platform.name)
    )
    return [Target(*row) for row in rows]


async def gone(session: AsyncSession, selection_id: UUID) -> list[str]:
    """The names of the platforms that were picked and are no longer there."""
    return list(
        await session.scalars(
            select(SelectionPlatform.platform_name)
            .outerjoin(Platform, Platform.id == SelectionPlatform.platform_id)
            .where(SelectionPlatform.selection_id == selection_id, Platform.id.is_(None))
            .order_by(SelectionPlatform.platform_name)
        )
    )
