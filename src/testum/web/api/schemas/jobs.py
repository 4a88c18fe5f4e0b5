"""Jobs, and what is asked for to start one."""

import datetime as dt
from typing import Annotated, Any, Literal, Union
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictBool, WrapValidator, create_model

from testum.core.feature import Registry
from testum.core.job_kinds import MAX_CONCURRENCY, MAX_TIMEOUT, JobKind, RerunOf
from testum.core.programs import Environment
from testum.core.states import JobStatus
from testum.web.api.schemas.base import Body
from testum.web.api.schemas.targets import TargetsBody

Timeout = Annotated[float, Field(gt=0, le=MAX_TIMEOUT, description="Seconds.")]
Concurrency = Annotated[int, Field(ge=1, le=MAX_CONCURRENCY, description="Tasks at once.")]


class RunCommandBody(Body):
    """A command for one platform."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"command": "uptime", "timeout": 60}]})
    command: str
    timeout: Timeout = 60
    environment: Environment = Field(default={})


class JobTargetsBody(TargetsBody):
    """Which platforms a job is for."""

    selection_id: UUID | None = Field(
        default=None,
        description="A saved selection; stands alone. Refused while platforms that it names are gone.",
    )


class JobBody(Body):
    """What all kinds of jobs are told; `job_body` adds what one takes."""

    type: str
    targets: JobTargetsBody
    timeout: Timeout | None = None
    idle_timeout: Timeout | None = Field(default=None, description="Seconds without output.")
    concurrency: Concurrency | None = None


def job_body(features: Registry) -> Any:
    """The type of the body that starts a job of any kind: one model for each, told apart by `type`."""
    bodies = {name: _body_of(kind) for name, kind in features.job_kinds.items()}
    types: Any = Literal[tuple(bodies)]
    typed: Any = create_model("TypedBody", type=(types, ...))

    def choose(data: Any, _validate: object) -> JobBody:
        # Pydantic's own choice would put the type in front of each field's name in its errors.
        return bodies[typed.model_validate(data).type].model_validate(data)

    union: Any = Union[tuple(bodies.values())]  # noqa: UP007 - known only now
    return Annotated[union, Discriminator("type"), WrapValidator(choose)]


def _body_of(kind: type[JobKind]) -> type[JobBody]:
    name = "".join(word.capitalize() for word in kind.kind.split("_"))
    fields: dict[str, Any] = {field: (info.annotation, info) for field, info in kind.model_fields.items()}
    fields["type"] = (Literal[kind.kind], ...)
    return create_model(f"{name}JobBody", __base__=JobBody, __doc__=kind.__doc__, **fields)


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
    type: str
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
