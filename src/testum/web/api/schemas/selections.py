"""Which platforms: the targets of a job, and saved selections."""

import datetime as dt
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from testum.core.states import StateFilter
from testum.web.api.schemas.base import Body, Name, Tags


class TargetsBody(Body):
    """Which platforms. Selectors of different kinds narrow each other."""

    platform_ids: Annotated[list[UUID], Field(max_length=10_000)] = Field(default=[])
    names: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=200)]], Field(max_length=1000)
    ] = Field(default=[], description="Names, or patterns such as `web*`; several add up.")
    tags: Tags = Field(default=[], description="All must be there.")
    all: StrictBool = False


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
