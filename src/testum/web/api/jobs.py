"""Jobs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response

from testum.app import Testum
from testum.core.feature import Registry
from testum.core.idempotency import Once
from testum.core.job_kinds import JobSpec
from testum.core.permissions import Actor
from testum.core.platform_sets import PlatformSets
from testum.core.states import JobStatus
from testum.core.targets import Targets
from testum.errors import InvalidInput
from testum.services.once import Started
from testum.web.api import serializers
from testum.web.api.once import MayRepeat, accept
from testum.web.api.paging import LIST_HEADERS, PageQuery, Search, answer
from testum.web.api.query import JobType
from testum.web.api.responses import PROTECTED, problems
from testum.web.api.schemas.jobs import AcceptedOut, JobBody, JobOut, RerunBody, job_body
from testum.web.security import App, CurrentActor

router = APIRouter(prefix="/jobs", tags=["jobs"])

_EXAMPLE = {"type": "run_command", "targets": {"tags": ["prod"]}, "command": "uptime", "timeout": 60}


def starting(features: Registry) -> APIRouter:
    """The call that starts a job: what it takes depends on the kinds that there are."""
    router = APIRouter(prefix="/jobs", tags=["jobs"])
    body_type = job_body(features)

    @router.post("/", status_code=202, responses=PROTECTED | problems(404, 503), operation_id="startJob")
    async def start_job(
        body: Annotated[body_type, Body(examples=[_EXAMPLE])],  # type: ignore[valid-type] # made above
        actor: CurrentActor,
        app: App,
        once: MayRepeat,
    ) -> AcceptedOut:
        """Do one thing on many platforms."""
        return await _start(body, actor, app, once)

    return router


async def _start(body: JobBody, actor: Actor, app: Testum, once: Once | None) -> AcceptedOut:
    kind = app.features.job_kind(body.type)
    parameters = kind.model_construct(**{name: getattr(body, name) for name in kind.model_fields})
    spec = JobSpec(parameters, body.timeout, body.idle_timeout, body.concurrency)
    asked = body.targets

    async def start() -> Started:
        targets = Targets(tuple(asked.platform_ids), tuple(asked.names), tuple(asked.tags), asked.all)
        if asked.selection_id is not None:
            if targets != Targets():
                raise InvalidInput.field(
                    "targets.selection_id", "stands alone: platforms were named as well."
                )
            sets = app.find(PlatformSets)
            if sets is None:
                raise InvalidInput.field("targets.selection_id", "this testum keeps no selections.")
            targets = await sets.targets(actor, asked.selection_id)
        return await app.jobs.start(actor, spec, targets, once=once)

    return await accept(app, actor, once, start)


@router.get("/", responses=PROTECTED | LIST_HEADERS, operation_id="listJobs")
async def list_jobs(
    actor: CurrentActor,
    app: App,
    request: Request,
    response: Response,
    page: PageQuery,
    type: JobType,
    status: JobStatus | None = None,
    q: Search = None,
) -> list[JobOut]:
    """The jobs, newest first."""
    return answer(
        request, response, await app.history.jobs(actor, page, status=status, type=type, q=q), serializers.job
    )


@router.get("/{job_id}", responses=PROTECTED | problems(404), operation_id="getJob")
async def get_job(job_id: UUID, actor: CurrentActor, app: App) -> JobOut:
    """One job."""
    return serializers.job(await app.history.job(actor, job_id))


@router.post(
    "/{job_id}/cancel", status_code=202, responses=PROTECTED | problems(404), operation_id="cancelJob"
)
async def cancel_job(job_id: UUID, actor: CurrentActor, app: App) -> JobOut:
    """End a job: what has not begun never will, what runs is ended on its host, and each task says
    in `metadata.termination` whether its processes are confirmed gone: none bears its mark, descends from one that did,
    or is in its session, and none of the account may have left these. What may
    still be at work of tasks that are over is looked for, and ended."""
    await app.jobs.cancel(actor, job_id)
    return serializers.job(await app.history.job(actor, job_id))


@router.post(
    "/{job_id}/rerun", status_code=202, responses=PROTECTED | problems(404, 409, 503), operation_id="rerunJob"
)
async def rerun_job(
    job_id: UUID,
    actor: CurrentActor,
    app: App,
    once: MayRepeat,
    body: Annotated[RerunBody | None, Body()] = None,
) -> AcceptedOut:
    """Do a job again: on all its platforms, on those that failed, or on all that did not succeed. Where it may still be at
    work from before on one of them, the answer is 409 `may_still_run` with the `tasks`, unless with `force`."""
    asked = body or RerunBody()
    return await accept(
        app, actor, once, lambda: app.jobs.rerun(actor, job_id, asked.only, once=once, force=asked.force)
    )
