"""How pages fail: in words, with the next step, and to the login where that is what is missing."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from testum.core.permissions import Actor
from testum.errors import Forbidden, InvalidInput, NotFound, TestumError, Unauthenticated
from testum.web.errors import problem_of
from testum.web.pages.view import CSP, logged_in_view, login_page, make_view, page_behind

log = structlog.get_logger(__name__)

_AGAIN = '<!doctype html><meta http-equiv="refresh" content="0"><title>testum</title>'


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Called by FastAPI."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await answer(request)
            except Unauthenticated as error:
                return to_login(request, error)
            except TestumError as error:
                return await error_page(request, error)
            except RequestValidationError:
                return await error_page(request, NotFound("There is nothing at this address."))

        return handle


def page_router(**options: Any) -> APIRouter:
    """A router for pages; they are no part of the API's document."""
    return APIRouter(
        route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse, **options
    )


def to_login(request: Request, error: Unauthenticated) -> Response:
    """Let the browser renew its access, or log in, and then come back."""
    path = page_behind(request)
    # What was being done is not done: renewing access in silence would hide that.
    again = login_page(path, ended=True)
    if request.headers.get("hx-request") == "true":
        response = problem_of(error)
        response.headers["HX-Redirect"] = again
        return response
    if request.method != "GET":
        return RedirectResponse(again, 303)
    if request.headers.get("sec-fetch-site") == "cross-site":
        # A link on another site leads here without our cookies (SameSite=Strict). Asked again by our own page, the
        # browser sends them.
        return HTMLResponse(_AGAIN, headers={"Content-Security-Policy": CSP})
    return RedirectResponse(f"/session/renew?next={quote(path, safe='')}", 303)


async def error_page(request: Request, error: TestumError) -> Response:
    """The error as a page, within the frame where there is a login; for htmx as words for a note."""
    actor = await _actor(request)
    view = make_view(request, actor)
    problem = problem_of(error)
    status = problem.status_code
    again = {name: value for name, value in problem.headers.items() if name == "retry-after"}
    if isinstance(error, Forbidden) and error.code == "password_change_required":
        return view.redirect("/account/password")
    text = view.words.message(error.message)
    if request.headers.get("hx-request") == "true":
        return Response(text, status, headers={"X-Message": quote(text), **again}, media_type="text/plain")
    fields = error.fields if isinstance(error, InvalidInput) else ()
    page = view.render("error.html", status=status, error=error, status_code=status, text=text, fields=fields)
    page.headers.update(again)
    return page


async def _actor(request: Request) -> Actor | None:
    try:
        return (await logged_in_view(request)).actor
    except TestumError:
        return None
