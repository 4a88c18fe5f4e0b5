"""Which platforms."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, StrictBool, StringConstraints

from testum.web.api.schemas.base import Body, Tags


class TargetsBody(Body):
    """Which platforms. Selectors of different kinds narrow each other."""

    platform_ids: Annotated[list[UUID], Field(max_length=10_000)] = Field(default=[])
    names: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=200)]], Field(max_length=1000)
    ] = Field(default=[], description="Names, or patterns such as `web*`; several add up.")
    tags: Tags = Field(default=[], description="All must be there.")
    all: StrictBool = False
