"""The pages: HTML for people, by the same services as the API. One module for each noun; `route` has how they fail,
`view` what each of them needs."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from testum.core.feature import Registry
from testum.errors import TestumError, Unauthenticated
from testum.web.assets import Assets
from testum.web.pages import (
    account,
    audit,
    dashboard,
    imports,
    jobs,
    keys,
    platform,
    platforms,
    run,
    session,
    tasks,
)
from testum.web.pages.rendering import Templates
from testum.web.pages.route import error_page, to_login
from testum.web.pages.view import page_above, takes_only_forms
from testum.web.routes import with_features

_PAGES = (session, dashboard, platforms, imports, platform, run, jobs, tasks, keys, audit, account)
_PROGRAMS = ("/api", "/ws", "/health", "/openapi.json", "/static")


def install(app: FastAPI, assets: Assets, features: Registry) -> None:
    """Add all pages to the application."""
    app.state.templates = Templates(assets, features)
    for router in with_features([module.router for module in _PAGES], features.pages()):
        app.include_router(router)


async def show_error(request: Request, error: TestumError) -> Response | None:
    """The error as a page, where a person's browser asks for one; otherwise None. An address that only takes forms,
    which a browser keeps when one was refused, leads to the page above it."""
    by_person = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(
        _PROGRAMS
    )
    if not by_person:
        return None
    if request.method == "GET" and takes_only_forms(request):
        return RedirectResponse(page_above(request), 303)
    return (
        to_login(request, error) if isinstance(error, Unauthenticated) else await error_page(request, error)
    )
