"""The name by which testum is called: only its own, where that is set, and no answer repeats it."""

import re
from collections.abc import Set as AbstractSet
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from testum.web.errors import ProblemResponse

_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:/@\[\]]+))(?::\d*)?")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_WATCHED = ("/health", "/health/live", "/health/ready")
"""Whoever watches over a server calls it by its address."""


class AllowedHosts:
    """Refuses a request whose Host header has another name: another site's name that leads here would make its pages ours
    to a browser (DNS rebinding). `names`: with none, any is taken."""

    def __init__(self, app: ASGIApp, names: AbstractSet[str]) -> None:
        self._app = app
        self._names = {*names, *_LOOPBACK} if names else set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        named = Headers(scope=scope).getlist("host")
        name = host_name(named[0]) if len(named) == 1 else ""
        if self._names and name not in self._names and scope["path"] not in _WATCHED:
            if scope["type"] == "websocket":
                # Before it was accepted, this is a 403.
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            detail = "This is not the name of this testum. PUBLIC_URL and ALLOWED_HOSTS say which are."
            await ProblemResponse(421, "unknown_host", detail)(scope, receive, send)
            return

        async def without_host(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (key, _relative(value) if key.lower() == b"location" else value)
                    for key, value in message["headers"]
                ]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, without_host if scope["type"] == "http" else send)


def host_name(host: str) -> str:
    """A Host header's name in small letters, without its port; empty for what is none (RFC 9110, section 7.2)."""
    found = _HOST.fullmatch(host)
    return (found["address"] or found["name"]).lower().rstrip(".") if found else ""


def _relative(location: bytes) -> bytes:
    """Where an answer leads, on this server: a path that begins with two slashes would be another host."""
    parts = urlsplit(location.decode("latin-1"))
    if not parts.scheme and not parts.netloc:
        return location
    return parts._replace(scheme="", netloc="", path="/" + parts.path.lstrip("/")).geturl().encode("latin-1")
