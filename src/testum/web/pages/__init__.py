"""The pages: HTML for people, by the same services as the API. One module for each noun; `route` has how they fail,
`view` what each of them needs."""

from fastapi import FastAPI, Request, Response

from testum.errors import TestumError
from testum.web.assets import Assets
from testum.web.pages import (
    account,
    audit,
    home,
    imports,
    jobs,
    keys,
    platform,
    platforms,
    run,
    selections,
    session,
    tasks,
)
from testum.web.pages.rendering import Templates
from testum.web.pages.route import error_page

_PROGRAMS = ("/api", "/ws", "/health", "/openapi.json", "/static")


def install(app: FastAPI, assets: Assets) -> None:
    """Add all pages to the application."""
    app.state.templates = Templates(assets)
    for module in (
        session,
        home,
        platforms,
        imports,
        platform,
        run,
        selections,
        jobs,
        tasks,
        keys,
        audit,
        account,
    ):
        app.include_router(module.router)


async def show_error(request: Request, error: TestumError) -> Response | None:
    """The error as a page, where a person's browser asks for one; otherwise None."""
    by_person = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(
        _PROGRAMS
    )
    return await error_page(request, error) if by_person else None
