"""The one map from domain errors to HTTP: RFC 9457 problem documents with a stable `code`."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path

from testum.errors import (
    Conflict,
    FieldProblem,
    Forbidden,
    InvalidInput,
    MayStillRun,
    NotFound,
    OutputDamaged,
    OutputExpired,
    SecretWouldLeave,
    Stopping,
    StorageFull,
    StorageUnavailable,
    TestumError,
    Throttled,
    TooLarge,
    Unauthenticated,
    WritesRefused,
)

log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"

_STATUS: dict[type[TestumError], int] = {
    InvalidInput: 422,
    SecretWouldLeave: 422,
    NotFound: 404,
    Conflict: 409,
    MayStillRun: 409,
    OutputExpired: 410,
    # Not 500, which would be asked again: nothing comes back by itself.
    OutputDamaged: 410,
    TooLarge: 413,
    Unauthenticated: 401,
    Forbidden: 403,
    Throttled: 429,
    StorageUnavailable: 503,
    WritesRefused: 503,
    Stopping: 503,
    StorageFull: 507,
}
_TITLES = {
    400: "Bad request",
    401: "Not logged in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    413: "Too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    422: "Invalid input",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available now",
    507: "Disk full",
}
_AWAY_SECONDS = 5
"""After so many seconds, what does not answer now may be asked again."""
_NOWHERE = "There is nothing at this address."
_FAILED = "testum failed; the server's log says more."
_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class ProblemResponse(Response):
    """A problem document."""

    media_type = PROBLEM_JSON

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        fields: Sequence[FieldProblem] = (),
        headers: dict[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """`more`: members of this kind of problem alone (RFC 9457, section 3.2)."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": _TITLES.get(status, "Error"),
            "status": status,
            "detail": detail,
            "code": code,
            # The same for clients that know no problem documents.
            "error": detail,
        }
        if fields:
            body["errors"] = [{"field": item.field, "message": item.message} for item in fields]
        body.update(more or {})
        super().__init__(dump(body), status, headers)


def dump(body: object) -> bytes:
    """JSON. A lone surrogate, which came in as `\\ud800` and UTF-8 cannot carry, goes out as `?`."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace")


def problem_of(error: TestumError) -> ProblemResponse:
    """The problem document of a domain error."""
    status = _STATUS.get(type(error), 500)
    headers: dict[str, str] = {}
    if isinstance(error, Throttled):
        headers["Retry-After"] = str(error.retry_after)
    if status == 503:
        headers["Retry-After"] = str(_AWAY_SECONDS)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="testum"'
    fields = error.fields if isinstance(error, InvalidInput) else ()
    more = {"tasks": error.tasks} if isinstance(error, MayStillRun) else None
    return ProblemResponse(status, error.code, error.message, fields=fields, headers=headers, more=more)


ShowError = Callable[[Request, TestumError], Awaitable[Response | None]]
"""Shows an error to a person; None for one that a program asked for."""
LoginFirst = Callable[[Request], Awaitable[None]]
"""Raises a domain error for a request without the login that its call needs."""


def install(app: FastAPI, show: ShowError, login_first: LoginFirst) -> None:
    """Make every error of the application a problem document; `show` has the first word on addresses that there
    are not, and on what nobody expected; `login_first` on requests that cannot be read, which is tried before anything asks
    for a login."""

    async def refused(request: Request) -> Response | None:
        try:
            await login_first(request)
        except TestumError as error:
            return problem_of(error)
        return None

    @app.exception_handler(TestumError)
    async def _domain(_request: Request, error: Exception) -> Response:
        assert isinstance(error, TestumError)
        if type(error) not in _STATUS:
            log.error("an unexpected domain error", code=error.code, message=error.message)
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        fields = [_field(item) for item in error.errors()]
        first = fields[0] if fields else FieldProblem("body", "is not valid.")
        malformed = any(item.get("type") == "json_invalid" for item in error.errors())
        if malformed and (refusal := await refused(request)) is not None:
            return refusal
        return ProblemResponse(
            400 if malformed else 422,
            "malformed" if malformed else "invalid",
            f"{first.field}: {first.message}",
            fields=fields[:50],
        )

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(app, request.scope["path"])) or headers.get("Allow", "")
        nothing = error.status_code == 404 or (error.status_code == 405 and request.method == "GET")
        if nothing and (page := await show(request, NotFound(_NOWHERE))) is not None:
            return page
        if error.status_code == 400 and (refusal := await refused(request)) is not None:
            return refusal
        code = _CODES.get(error.status_code, "error")
        detail = _NOWHERE if error.status_code == 404 else str(error.detail)
        return ProblemResponse(error.status_code, code, detail, headers=headers)

    @app.exception_handler(ClientDisconnect)
    async def _gone(_request: Request, _error: Exception) -> Response:
        # Nobody is there to read it, and nothing failed here: nothing of the request was acted on.
        return Response(status_code=400)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        log.error("a request failed", path=request.url.path, method=request.method, exc_info=error)
        page = await show(request, TestumError(_FAILED))
        return page if page is not None else ProblemResponse(500, "internal", _FAILED)


def _methods(app: FastAPI, path: str) -> list[str]:
    """All methods that the document has for this path; the router names those of one route alone, where
    `Allow` must list every one (RFC 9110, section 10.2.1)."""
    if not path.startswith("/api/v1/"):
        path = path.replace("/api/", "/api/v1/", 1)
    paths = app.openapi()["paths"]
    if path in paths:
        # What has an address of its own is not one of the others that have such addresses.
        return sorted(method.upper() for method in paths[path])
    found: set[str] = set()
    for template, operations in paths.items():
        if compile_path(template)[0].match(path):
            found.update(method.upper() for method in operations)
    return sorted(found)


def _field(item: dict[str, Any]) -> FieldProblem:
    """One of pydantic's errors, without the offending value, which may be a secret."""
    place = [str(part) for part in item["loc"] if part not in ("body", "query", "path", "header")]
    message = str(item["msg"]).removeprefix("Value error, ")
    return FieldProblem(".".join(place)[:200] or "body", message[:300])
