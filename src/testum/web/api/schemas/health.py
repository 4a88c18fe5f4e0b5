"""Whether testum serves, and its workers."""

import datetime as dt
from typing import Literal

from pydantic import BaseModel

from testum.services.status import WallState


class HealthOut(BaseModel):
    """Whether testum serves."""

    status: Literal["healthy", "unavailable"]
    timestamp: dt.datetime
    version: str
    database: Literal["ok", "unavailable"]


class LiveOut(BaseModel):
    """That the process answers."""

    status: Literal["ok"]


class ReadyOut(BaseModel):
    """Whether testum serves, and the state of each server that it leans on. `degraded`: it serves without some of
    them; what they are for waits until they are back. Of each: `read_only` where it refuses to be written to, `full` where
    it has no room. `stopping`: it finishes what is under way and takes no new work."""

    status: Literal["ok", "degraded", "unavailable", "stopping"]
    version: str
    walls: dict[str, WallState]


class WorkerOut(BaseModel):
    """A worker's process that was heard of within its lease."""

    id: str
    zones: list[str]
    version: str
    started_at: dt.datetime
    seen_at: dt.datetime
