"""Health, for load balancers and people: needs no login and tells nothing else. And the workers, for those who are
logged in."""

from collections.abc import Mapping
from typing import Literal

from fastapi import APIRouter, Response

from testum import __version__
from testum.db.base import utc_now
from testum.services.status import WallState
from testum.web.api.responses import PROTECTED
from testum.web.api.schemas.health import HealthOut, LiveOut, ReadyOut, WorkerOut
from testum.web.security import App, CurrentActor

router = APIRouter(tags=["health"])
api = APIRouter(tags=["health"])


@router.get("/health", operation_id="health", responses={503: {"model": HealthOut}})
async def health(app: App, response: Response) -> HealthOut:
    """Whether testum serves: 200, or 503 when its database does not answer."""
    now = utc_now()
    if await app.status.healthy():
        return HealthOut(status="healthy", timestamp=now, version=__version__, database="ok")
    response.status_code = 503
    return HealthOut(status="unavailable", timestamp=now, version=__version__, database="unavailable")


@router.get("/health/live", operation_id="live")
async def live() -> LiveOut:
    """Whether the process answers at all: when it does not, restarting it may help."""
    return LiveOut(status="ok")


@router.get("/health/ready", operation_id="ready", responses={503: {"model": ReadyOut}})
async def ready(app: App, response: Response) -> ReadyOut:
    """The state of each wall, as far as writing to it and reading that back showed within the last ten seconds. 503 only
    where it is the database's, and while testum is stopping: the rest is waited for, and nothing is gained by sending
    requests elsewhere."""
    walls = await app.status.walls()
    shown = ReadyOut(
        status=_readiness(walls, stopping=app.status.stopping),
        version=__version__,
        walls=walls,
    )
    if shown.status in ("unavailable", "stopping"):
        response.status_code = 503
    return shown


def _readiness(
    walls: Mapping[str, WallState], *, stopping: bool
) -> Literal["ok", "degraded", "unavailable", "stopping"]:
    if walls["database"] is not WallState.OK:
        return "unavailable"
    if stopping:
        return "stopping"
    return "ok" if set(walls.values()) == {WallState.OK} else "degraded"


@api.get("/workers/", responses=PROTECTED, operation_id="listWorkers")
async def list_workers(actor: CurrentActor, app: App) -> list[WorkerOut]:
    """The processes of `testum worker` that live, by name; none where the server does the work itself."""
    return [
        WorkerOut(
            id=row.id,
            zones=row.zones,
            version=row.version,
            started_at=row.started_at,
            seen_at=row.seen_at,
        )
        for row in await app.status.workers(actor)
    ]
