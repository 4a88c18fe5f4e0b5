"""Tasks and the audit log."""

import datetime as dt
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from testum.core.states import TaskStatus


class TaskOut(BaseModel):
    """A task. Of large output, `stdout` and `stderr` are the last part; `/output` has all of it. With
    `output_expired_at` it has been removed since, because it was older than output is kept."""

    id: UUID
    celery_task_id: str | None
    job_id: UUID
    type: str
    platform_id: UUID
    platform_name: str
    status: TaskStatus
    exit_code: int | None
    exit_signal: str | None
    result_location: str | None
    stdout: str | None
    stderr: str | None
    output_bytes: int
    output_expired_at: dt.datetime | None
    error_code: str | None
    error_message: str | None
    metadata: dict[str, Any]
    may_still_run: bool = Field(
        description="The task is over, and something of it may still be at work on its host; `metadata.termination` says "
        "what was seen there last."
    )
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    duration_seconds: float | None = Field(
        description="How long it took, measured where it ran by a clock that nobody sets; null where it was not."
    )
    created_at: dt.datetime


class AuditOut(BaseModel):
    """An audit entry."""

    id: UUID
    user: str
    action: str
    object_type: str
    object_id: str
    outcome: str
    address: str
    meta: dict[str, Any]
    timestamp: dt.datetime
