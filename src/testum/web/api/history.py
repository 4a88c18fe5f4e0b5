"""Tasks, the audit log and the settings: looking, not changing."""

import re
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from testum.core.frames import Stream
from testum.core.states import TaskStatus
from testum.db.tasks import Task
from testum.web.api import serializers
from testum.web.api.paging import LIST_HEADERS, PageQuery, Search, answer
from testum.web.api.query import JobType
from testum.web.api.responses import PROTECTED, problems
from testum.web.api.schemas.history import AuditOut, TaskOut
from testum.web.security import App, CurrentActor

router = APIRouter(tags=["history"])

_STREAMS = {"stdout": Stream.STDOUT, "stderr": Stream.STDERR, "all": None}


@router.get("/tasks/", responses=PROTECTED | LIST_HEADERS, operation_id="listTasks")
async def list_tasks(
    actor: CurrentActor,
    app: App,
    request: Request,
    response: Response,
    page: PageQuery,
    type: JobType,
    status: TaskStatus | None = None,
    platform_id: UUID | None = None,
    job_id: UUID | None = None,
    error_code: Annotated[str | None, Query(max_length=50)] = None,
    q: Search = None,
) -> list[TaskOut]:
    """The tasks, newest first; a job's in the order of its platforms."""
    found = await app.history.tasks(
        actor,
        page,
        status=status,
        type=type,
        platform_id=platform_id,
        job_id=job_id,
        error_code=error_code,
        q=q,
    )
    return answer(request, response, found, partial(serializers.task, brokered=_is_brokered(app)))


@router.get("/tasks/{task_id}", responses=PROTECTED | problems(404), operation_id="getTask")
async def get_task(task_id: UUID, actor: CurrentActor, app: App) -> TaskOut:
    """One task."""
    return serializers.task(await app.history.task(actor, task_id), brokered=_is_brokered(app))


def _is_brokered(app: App) -> bool:
    return bool(app.settings.celery_broker_url)


@router.get(
    "/tasks/{task_id}/output",
    response_class=StreamingResponse,
    responses=PROTECTED
    | problems(404, 410)
    | {200: {"content": {"application/octet-stream": {}}, "description": "The exact bytes."}},
    operation_id="getTaskOutput",
)
async def get_output(
    task_id: UUID,
    actor: CurrentActor,
    app: App,
    stream: Literal["all", "stdout", "stderr"] = "all",
    timestamps: Annotated[bool, Query(description="Put before each line the time when it began.")] = False,
) -> StreamingResponse:
    """All that the task printed, byte for byte; while it runs, what is stored so far."""
    task, output = await app.outputs.download(actor, task_id, _STREAMS[stream], timestamps=timestamps)
    return StreamingResponse(
        output,
        media_type="application/octet-stream",
        headers={"Content-Disposition": _attachment(task, f"{stream}-times" if timestamps else stream)},
    )


def _attachment(task: Task, what: str) -> str:
    """The header that names the file: for programs that know ASCII only, and for all others (RFC 6266, appendix D)."""
    name = f"{task.platform_name}-{task.started_at or task.created_at:%Y%m%d-%H%M%S}-{what}.log"
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


@router.get("/audit/", responses=PROTECTED | LIST_HEADERS, operation_id="listAudit")
async def list_audit(
    actor: CurrentActor,
    app: App,
    request: Request,
    response: Response,
    page: PageQuery,
    user: Annotated[str | None, Query(max_length=150)] = None,
    action: Annotated[str | None, Query(max_length=100)] = None,
    object_type: Annotated[str | None, Query(max_length=50)] = None,
    object_id: Annotated[str | None, Query(max_length=200)] = None,
    outcome: Literal["allowed", "refused", "failed"] | None = None,
    q: Search = None,
) -> list[AuditOut]:
    """Who did what, newest first."""
    found = await app.history.audit(
        actor,
        page,
        user=user,
        action=action,
        object_type=object_type,
        object_id=object_id,
        outcome=outcome,
        q=q,
    )
    return answer(request, response, found, serializers.audit)


@router.get("/settings", responses=PROTECTED, operation_id="getSettings")
async def get_settings(actor: CurrentActor, app: App) -> dict[str, Any]:
    """The configuration. Secrets are masked."""
    found = await app.status.settings(actor)
    # Clients that were there before know the names in lower case.
    return found | {name.lower(): value for name, value in found.items()}
