"""Saved selections, as the API has them."""

import datetime as dt
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from testum.core.states import StateFilter
from testum.features.selections.service import Resolved
from testum.features.selections.store import Selection
from testum.web.api.schemas.base import Body, Name
from testum.web.api.schemas.targets import TargetsBody


class CriteriaBody(TargetsBody):
    """What a selection selects: platforms by their ids, which stand alone, or what is asked of a platform."""

    q: Annotated[str, StringConstraints(max_length=200)] = Field(
        default="",
        description="Text in name, host or description; with `*` or `?` a pattern for the whole name or host.",
    )
    state: StateFilter | None = None


class SelectionBody(Body):
    """A selection of platforms to keep. What is asked of platforms is kept as it is: those added later join it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "web servers", "targets": {"tags": ["web", "prod"]}}]},
    )
    name: Name
    targets: CriteriaBody


Revision = Annotated[int, Field(ge=1, lt=2**31, description="Refuse if it is not this one any more.")]


class SelectionPatch(Body):
    """Changes to a selection: what is left out stays as it is."""

    name: Name | None = None
    targets: CriteriaBody | None = None
    revision: Revision | None = None


class CriteriaOut(BaseModel):
    """What a selection asks of a platform: nothing where platforms were picked one by one."""

    names: list[str]
    tags: list[str]
    q: str
    state: StateFilter | None
    all: bool


class SelectionOut(BaseModel):
    """A saved selection, which all accounts share. `picked`: so many platforms were picked one by one. `revision`
    grows with every change."""

    id: UUID
    name: str
    criteria: CriteriaOut
    picked: int
    revision: int
    created_by: str
    created_at: dt.datetime
    updated_by: str
    updated_at: dt.datetime

    @classmethod
    def of(cls, row: Selection) -> "SelectionOut":
        """The answer for a row."""
        asked = row.targets
        return cls(
            id=row.id,
            name=row.name,
            criteria=CriteriaOut(
                names=list(asked.names),
                tags=list(asked.tags),
                q=asked.q,
                state=StateFilter(asked.state) if asked.state else None,
                all=asked.all,
            ),
            picked=row.picked,
            revision=row.revision,
            created_by=row.created_by,
            created_at=row.created_at,
            updated_by=row.updated_by,
            updated_at=row.updated_at,
        )


class GoneOut(BaseModel):
    """What a selection names that is not there: names of picked platforms that were deleted, exact names that are no
    platform's, tags that no platform has."""

    platforms: list[str]
    names: list[str]
    tags: list[str]


class SelectionNowOut(SelectionOut):
    """A saved selection, what it selects now (by name), and what of it is gone."""

    platform_ids: list[UUID]
    gone: GoneOut

    @classmethod
    def now(cls, found: Resolved) -> "SelectionNowOut":
        """The answer for a selection that was looked at."""
        gone = found.gone
        return cls(
            **SelectionOut.of(found.selection).model_dump(),
            platform_ids=[platform.id for platform in found.platforms],
            gone=GoneOut(platforms=list(gone.platforms), names=list(gone.names), tags=list(gone.tags)),
        )
