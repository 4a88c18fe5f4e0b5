"""Platforms, and what can be done on one of them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from testum.core.job_kinds import JobSpec
from testum.core.programs import RunCommand
from testum.core.states import StateFilter
from testum.web.api import serializers
from testum.web.api.once import MayRepeat, accept
from testum.web.api.paging import LIST_HEADERS, ExactName, PageQuery, Search, answer
from testum.web.api.responses import PROTECTED, problems
from testum.web.api.schemas.base import MessageOut
from testum.web.api.schemas.jobs import AcceptedOut, RunCommandBody
from testum.web.api.schemas.platforms import (
    PlatformBody,
    PlatformOut,
    PlatformPatch,
    PlatformTestBody,
    PlatformTestOut,
)
from testum.web.disconnects import while_waited_for
from testum.web.security import App, CurrentActor

router = APIRouter(prefix="/platforms", tags=["platforms"])


@router.get("/", responses=PROTECTED | LIST_HEADERS, operation_id="listPlatforms")
async def list_platforms(
    actor: CurrentActor,
    app: App,
    request: Request,
    response: Response,
    page: PageQuery,
    q: Search = None,
    name: ExactName = None,
    tag: Annotated[str | None, Query(max_length=100)] = None,
    state: Annotated[
        StateFilter | None, Query(description="`attention`: any that somebody should look at.")
    ] = None,
) -> list[PlatformOut]:
    """The platforms, by name."""
    found = await app.platforms.find(actor, page, q=q, name=name, tag=tag, state=state)
    return answer(request, response, found, serializers.platform)


@router.post("/", status_code=201, responses=PROTECTED | problems(409), operation_id="addPlatform")
async def add_platform(body: PlatformBody, actor: CurrentActor, app: App) -> PlatformOut:
    """Add a host."""
    return serializers.platform(await app.platforms.add(actor, body.model_dump()))


@router.get("/{platform_id}", responses=PROTECTED | problems(404), operation_id="getPlatform")
async def get_platform(platform_id: UUID, actor: CurrentActor, app: App) -> PlatformOut:
    """One platform."""
    return serializers.platform(await app.platforms.get(actor, platform_id))


@router.patch("/{platform_id}", responses=PROTECTED | problems(404, 409), operation_id="changePlatform")
async def change_platform(
    platform_id: UUID, body: PlatformPatch, actor: CurrentActor, app: App
) -> PlatformOut:
    """Change the fields that are sent."""
    return serializers.platform(await app.platforms.change(actor, platform_id, body.changes()))


@router.delete("/{platform_id}", responses=PROTECTED | problems(404, 409), operation_id="deletePlatform")
async def delete_platform(platform_id: UUID, actor: CurrentActor, app: App) -> MessageOut:
    """Forget a platform. Its history stays."""
    platform = await app.platforms.delete(actor, platform_id)
    return MessageOut(message=f"The platform {platform.name} was deleted; its history stays.")


@router.post(
    "/new/test",
    responses=PROTECTED | problems(404, 429, 503),
    response_model=PlatformTestOut,
    operation_id="testNewPlatform",
)
async def test_new_platform(
    body: PlatformTestBody, request: Request, actor: CurrentActor, app: App
) -> PlatformTestOut | Response:
    """Connect and log in as the fields say, and tell what came of it. Nothing is saved, no host key is trusted, and no
    command is run. It ends when the client hangs up."""
    return await _test(request, app, actor, body)


@router.post(
    "/{platform_id}/test",
    responses=PROTECTED | problems(404, 429, 503),
    response_model=PlatformTestOut,
    operation_id="testChangedPlatform",
)
async def test_changed_platform(
    platform_id: UUID, body: PlatformTestBody, request: Request, actor: CurrentActor, app: App
) -> PlatformTestOut | Response:
    """The same with a platform's fields, those in the body changed. Its stored secret is used only for the host that it
    was stored for: whoever changes where the platform leads must send the secret again."""
    return await _test(request, app, actor, body, platform_id)


async def _test(
    request: Request, app: App, actor: CurrentActor, body: PlatformTestBody, platform_id: UUID | None = None
) -> PlatformTestOut | Response:
    probed = await while_waited_for(request, app.probes.probe(actor, body.changes(), platform_id))
    return Response(status_code=204) if probed is None else serializers.probed(probed)


@router.post(
    "/{platform_id}/run_command",
    status_code=202,
    responses=PROTECTED | problems(404, 503),
    operation_id="runCommand",
)
async def run_command(
    platform_id: UUID, body: RunCommandBody, actor: CurrentActor, app: App, once: MayRepeat
) -> AcceptedOut:
    """Run a command on this platform."""
    spec = JobSpec(RunCommand(command=body.command, environment=body.environment), timeout=body.timeout)
    return await accept(app, actor, once, lambda: app.jobs.start_on(actor, spec, platform_id, once=once))
