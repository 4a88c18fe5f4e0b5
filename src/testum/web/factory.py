"""Putting the web application together."""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from testum import __version__, memory
from testum.app import Testum
from testum.core.feature import Registry
from testum.errors import TestumError, TooLarge, Unauthenticated
from testum.settings import Settings
from testum.web import errors, pages, streams
from testum.web.api import account, health, history, imports, jobs, output, platforms
from testum.web.api.query import known_parameters
from testum.web.assets import MOUNT, Assets
from testum.web.hosts import AllowedHosts
from testum.web.routes import with_features
from testum.web.security import MAX_BODY, SMALL_BODY, login_first, most_of_body

_TOO_LARGE = (
    "What was sent is over 4 MB, the most that testum takes at once. "
    "Split it; for long lists of hosts there is also the command line: testum platforms import."
)
_MORE_THAN_SMALL = (
    "What was sent is over 16 kB, the most that is taken from who may not change anything here."
)
_DESCRIPTION = """Run commands and scripts on any number of SSH hosts, without an agent.

Log in with `POST /api/v1/auth/login`, then send `Authorization: Bearer <access_token>`.
Lists are bare arrays with `Link` and `X-Total-Count` headers; errors are RFC 9457 problem documents
with a stable `code`. Live output: WebSocket `/ws/tasks/{task_id}` and `/ws/jobs/{job_id}`, both with
`?after=<seq>` to resume."""
_CSP = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
"""For /docs alone, whose page starts Swagger UI with an inline script."""

_API = (
    *(module.router for module in (account, imports, platforms, jobs, history)),
    output.lines,
    output.compared,
    health.api,
)

Started = Callable[[Testum], Awaitable[None]]


def build(settings: Settings, features: Registry, *, started: Started | None = None) -> FastAPI:
    """The application. `started` is called when it is ready to serve (the demo adds its hosts there)."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        testum = await Testum.open(settings, features)
        app.state.testum = testum
        try:
            _announce(testum)
            if started is not None:
                await started(testum)
            # What is there now stays: looking through all of it for garbage took a page a tenth of a second, and a
            # tenth of the start once more to find a thousand small objects.
            memory.look_for_garbage()
            # What the server waits for when it is told to stop.
            yield {"work": testum.work} if testum.work is not None else {}
        finally:
            gc.unfreeze()
            await testum.close()

    app = FastAPI(
        title="testum",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        separate_input_output_schemas=True,
    )
    errors.install(app, pages.show_error, login_first)
    # The second is the form that existing clients use; the document describes the first, the canonical one. A router within a
    # router would be looked through once more for each request.
    routers = with_features([*_API, jobs.starting(features)], features.api())
    for prefix in ("/api/v1", "/api"):
        for router in routers:
            app.include_router(
                router,
                prefix=prefix,
                dependencies=[Depends(known_parameters)],
                include_in_schema=prefix == "/api/v1",
            )
    app.include_router(health.router)
    app.include_router(streams.router)
    _add_docs(app)
    assets = Assets()
    app.mount(MOUNT, assets, name="assets")
    pages.install(app, assets, features)
    app.add_middleware(BodyLimit, show=pages.show_error)
    app.add_middleware(AllowedHosts, names=settings.own_hosts)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(PlainCookies)
    return app


def _announce(testum: Testum) -> None:
    admin = testum.first_admin
    if admin is None:
        return
    print(f"The first account was made: {admin.username}", flush=True)  # noqa: T201 - for the person at the terminal
    if admin.password is not None:
        show_password(admin.password)


def show_password(password: str) -> None:
    """Tell the first account's password, to the terminal alone."""
    print(f"Its password, shown this once: {password}", flush=True)  # noqa: T201 - and not to the log


def _add_docs(app: FastAPI) -> None:
    assets = str(files("fastapi_swagger").joinpath("resources"))
    app.mount("/static/swagger", StaticFiles(directory=assets), name="swagger")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="testum API",
            swagger_js_url="/static/swagger/swagger-ui-bundle.js",
            swagger_css_url="/static/swagger/swagger-ui.css",
            swagger_favicon_url="data:,",
        )
        page.headers["Content-Security-Policy"] = _CSP
        return page


class PlainCookies:
    """Leaves out cookies with a backslash, which none of ours has: Python before 3.11.10 takes time by the square to read the
    escapes of one (CVE-2024-7592), and anybody may send it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope.get("headers", ())
        if any(name == b"cookie" and b"\\" in value for name, value in headers):
            plain = [
                (name, _without_escapes(value) if name == b"cookie" else value) for name, value in headers
            ]
            scope = {**scope, "headers": plain}
        await self._app(scope, receive, send)


def _without_escapes(cookies: bytes) -> bytes:
    return b";".join([cookie for cookie in cookies.split(b";") if b"\\" not in cookie])


class SecurityHeaders:
    """The headers that every answer has (OWASP HTTP headers cheat sheet)."""

    _HEADERS = (
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        (b"x-frame-options", b"DENY"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (
            b"permissions-policy",
            b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    )
    _STRICT = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[Any] = list(message["headers"])
                headers += self._HEADERS
                names = {name for name, _ in headers}
                if self._STRICT[0] not in names:
                    headers.append(self._STRICT)
                if b"cache-control" not in names and not scope["path"].startswith("/static/"):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, with_headers)


class BodyLimit:
    """Refuses a request body over the limit before it is held in memory, and before anything reads it; people are told so
    by a page, which `show` makes. Who may change nothing has a small one: reading a body costs more than asking who sends
    it."""

    def __init__(self, app: ASGIApp, show: errors.ShowError) -> None:
        self._app = app
        self._show = show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, got = SMALL_BODY, 0
        refusal: TestumError | None = None

        async def take(size: int) -> None:
            nonlocal limit, refusal
            try:
                if size > limit == SMALL_BODY:
                    limit = await most_of_body(HTTPConnection(scope))
                if size > limit:
                    raise TooLarge(_TOO_LARGE if limit == MAX_BODY else _MORE_THAN_SMALL)
            except (Unauthenticated, TooLarge) as error:
                refusal = error
                raise _Refused from None

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                await take(got)
            return message

        async def noted(message: Message) -> None:
            if refusal is None:
                await send(message)

        with suppress(_Refused):
            for name, value in scope["headers"]:
                if name == b"content-length":
                    await take(int(value) if value.isdigit() else MAX_BODY + 1)
            await self._app(scope, counted, noted)
        if refusal is not None:
            page = await self._show(Request(scope), refusal)
            await (page or errors.problem_of(refusal))(scope, receive, send)


class _Refused(Exception):
    """The body is not read, or not to its end."""
