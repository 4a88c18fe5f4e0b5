"""The dashboard, and the search over everything."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from fastapi import Response

from testum.core.states import TROUBLE, StateFilter
from testum.db.paging import PageRequest
from testum.services.messages import count_json
from testum.web.pages.rendering import address
from testum.web.pages.route import page_router
from testum.web.pages.view import PageView

router = page_router()

_FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0086c9"/>'
    '<path d="M8 11l5 5-5 5" fill="none" stroke="#fff" stroke-width="2.5" stroke-linecap="round"/>'
    '<path d="M16 22h8M16 10h8M19 16h5" stroke="#fff" stroke-width="2.5" stroke-linecap="round"/></svg>'
)
_QUICK = 5
_ALL = 20


@router.get("/favicon.svg")
async def favicon() -> Response:
    """The sign in the browser's tab."""
    return Response(_FAVICON, media_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"})


@router.get("/")
async def dashboard(view: PageView) -> Response:
    """How things stand; fetched again every few seconds while it is open."""
    now = await view.app.overview.read(view.actor)
    context: dict[str, Any] = {
        "now": now,
        "total": sum(now.platforms.values()),
        "attention": address("/platforms", state=StateFilter.ATTENTION.value),
        "troubled": sum(now.platforms.get(state, 0) for state in TROUBLE),
        "failed": sum(hour.ended.get("failed", 0) + hour.ended.get("lost", 0) for hour in now.hours),
        "ended": sum(sum(hour.ended.values()) for hour in now.hours),
        "chart": json.dumps(
            [
                [int(hour.start.timestamp()) for hour in now.hours],
                *(
                    [sum(hour.ended.get(status, 0) for status in statuses) for hour in now.hours]
                    for statuses in (("success",), ("failed", "lost"), ("cancelled",))
                ),
            ]
        ),
        "describe": view.describe,
        "counted": count_json,
    }
    if view.is_partial:
        return view.render("dashboard/now.html", **context)
    return view.render("dashboard/page.html", title=view.gettext("Dashboard"), section="dashboard", **context)


@router.get("/search")
async def search(view: PageView) -> Response:
    """What has the words in it: a short list under the search box, or a page."""
    q = view.request.query_params.get("q", "").strip()[:200]
    limit = _QUICK if view.is_partial else _ALL
    request = PageRequest(limit, counted=False)
    found: dict[str, Sequence[Any]] = {"platforms": (), "jobs": (), "keys": ()}
    if q and view.may("platforms:read"):
        platforms, jobs, keys = await asyncio.gather(
            view.app.platforms.find(view.actor, request, q=q),
            view.app.history.jobs(view.actor, request, q=q),
            view.app.keys.find(view.actor, request, q=q),
        )
        found = {"platforms": platforms.items, "jobs": jobs.items, "keys": keys.items}
    context: dict[str, Any] = {"q": q, "found": found, "describe": view.describe, "any": any(found.values())}
    if view.is_partial:
        return view.render("search/list.html", **context) if q else Response("")
    return view.render(
        "search/page.html", title=view.gettext("Search"), section="search", sought=q, **context
    )
