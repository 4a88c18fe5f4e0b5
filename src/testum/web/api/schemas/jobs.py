"""Jobs, and what is asked for to start one."""

import datetime as dt
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from testum.core.actions import MAX_CONCURRENCY, MAX_TIMEOUT, JobType, RerunOf
from testum.core.states import JobStatus
from testum.web.api.schemas.base import Body
from testum.web.api.schemas.selections import TargetsBody

Timeout = Annotated[float, Field(gt=0, le=MAX_TIMEOUT, description="Seconds.")]
Concurrency = Annotated[int, Field(ge=1, le=MAX_CONCURRENCY, description="Tasks at once.")]
Environment = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=200)],
        Annotated[str, StringConstraints(max_length=32_768)],
    ],
    Field(max_length=100),
]


class DeployBody(Body):
    """Which keys to deploy; without key_ids all there are."""

    key_ids: Annotated[list[UUID], Field(max_length=500)] | None = None


class RunCommandBody(Body):
    """A command for one platform."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"command": "uptime", "timeout": 60}]})
    command: str
    timeout: Timeout = 60
    environment: Environment = Field(default={})


class ScriptBody(Body):
    """A program; its text goes to the interpreter over stdin."""

    text: str
    interpreter: Annotated[str, StringConstraints(min_length=1, max_length=500)] = "/bin/sh"
    arguments: Annotated[
        list[Annotated[str, StringConstraints(max_length=32_768)]], Field(max_length=100)
    ] = Field(default=[])


class JobTargetsBody(TargetsBody):
    """Which platforms a job is for."""

    selection_id: UUID | None = Field(
        default=None,
        description="A saved selection; stands alone. Refused while platforms that it names are gone.",
    )


class JobBody(Body):
    """A job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"type": "run_command", "targets": {"tags": ["prod"]}, "command": "uptime", "timeout": 60}
            ]
        },
    )
    type: JobType
    targets: JobTargetsBody
    command: str | None = None
    script: ScriptBody | None = None
    environment: Environment = Field(default={}, description="Kept sealed, and never on a command line.")
    key_ids: Annotated[list[UUID], Field(max_length=500)] | None = None
    timeout: Timeout | None = None
    idle_timeout: Timeout | None = Field(default=None, description="Seconds without output.")
    concurrency: Concurrency | None = None


class RerunBody(Body):
    """Which of the job's platforms to run on again. `force`: also where it may still be at work from before."""

    only: RerunOf = RerunOf.ALL
    force: StrictBool = False


class Counts(BaseModel):
    """How many of a job's tasks are in each status."""

    total: int
    pending: int
    running: int
    success: int
    failed: int
    cancelled: int
    lost: int


class JobOut(BaseModel):
    """A job."""

    id: UUID
    job_id: UUID
    type: JobType
    status: JobStatus
    targets: dict[str, Any]
    command: str | None
    parameters: dict[str, Any]
    timeout: float | None
    idle_timeout: float | None
    concurrency: int
    task_count: int
    counts: Counts
    may_still_run: int = Field(
        description="Of so many ended tasks something may still be at work on its host; testum looks there until it knows."
    )
    rerun_of: UUID | None
    created_by: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    duration_seconds: float | None = Field(
        description="How long it took, by a clock that nobody sets meanwhile; null where it did not begin or is not over."
    )
    cancel_requested_at: dt.datetime | None
    cancel_requested_by: str | None


class AcceptedOut(BaseModel):
    """A job that was accepted. `task_id` is that of its first task."""

    id: UUID
    job_id: UUID
    task_id: UUID
    status: JobStatus
    task_count: int
    message: str
