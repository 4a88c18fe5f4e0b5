"""Health, for load balancers and people: needs no login and tells nothing else."""

from fastapi import APIRouter, Response

from testum import __version__
from testum.web.api.schemas import HealthOut
from testum.web.security import App

router = APIRouter(tags=["health"])


@router.get("/health", operation_id="health", responses={503: {"model": HealthOut}})
async def health(app: App, response: Response) -> HealthOut:
    """Whether testum serves: 200, or 503 when its database does not answer."""
    if await app.status.healthy():
        return HealthOut(status="ok", version=__version__, database="ok")
    response.status_code = 503
    return HealthOut(status="unavailable", version=__version__, database="unavailable")
