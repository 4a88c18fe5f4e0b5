"""Who asks: the bearer token or the cookie of a request, and the guard against forged requests."""

from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.requests import HTTPConnection
from starlette.responses import Response

from testum.app import Testum
from testum.core.permissions import Actor, changes_something
from testum.errors import Forbidden, Unauthenticated

COOKIE = "access_token"
DEVICE_COOKIE = "testum_device"
_DEVICE_SECONDS = 400 * 86_400
"""As long as browsers keep a cookie (RFC 6265bis, section 5.5)."""
MAX_BODY = 4 * 1024 * 1024
"""Bytes that a request may have."""
SMALL_BODY = 16 * 1024
"""The same for who may change nothing."""
_WITHOUT_LOGIN = ("/login", "/auth/refresh", "/session/renew")
"""How the addresses end that take a body and need no login."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OF_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})

# They only document the schemes in OpenAPI; `actor_of` reads the request itself, for WebSockets too.
_bearer = HTTPBearer(auto_error=False, description="An access token from the login.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="The cookie that the login sets.")


def testum_of(connection: HTTPConnection) -> Testum:
    """The application that the request came to."""
    testum: Testum = connection.app.state.testum
    return testum


def know_device(response: Response, device: str, *, secure: bool) -> None:
    """Let a device that has logged in be known at its next login."""
    response.set_cookie(
        DEVICE_COOKIE, device, max_age=_DEVICE_SECONDS, httponly=True, samesite="strict", secure=secure
    )


def address_of(connection: HTTPConnection) -> str:
    """Where the request came from: an address, `unknown` where what a proxy forwarded is none, or empty."""
    said = connection.client.host if connection.client else ""
    try:
        address = ip_address(said)
    except ValueError:
        return "unknown" if said else ""
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)


async def actor_of(connection: HTTPConnection) -> Actor:
    """Who asks. Raises Unauthenticated, or Forbidden for a request that another site's page made."""
    testum = testum_of(connection)
    address = address_of(connection)
    header = connection.headers.get("authorization", "")
    scheme, _, token = header.partition(" ")
    by_cookie = not header
    if by_cookie:
        token = connection.cookies.get(COOKIE, "")
    elif scheme.lower() != "bearer":
        token = ""
    action = f"{connection.scope.get('method', 'WEBSOCKET')} {connection.url.path}"[:100]
    try:
        if not token:
            raise Unauthenticated("Log in first: this needs an access token.")
        actor = await testum.auth.authenticate(token.strip(), address=address)
    except Unauthenticated as refusal:
        await testum.gate.refused_stranger("", action, address=address, reason=refusal.code)
        raise
    if by_cookie and not may_be_ours(connection):
        await testum.gate.refused(actor, action, reason="cross_site")
        raise Forbidden(
            "This request came from another site's page, or from a form that does not say where it is.",
            code="cross_site",
        )
    return actor


def may_be_ours(connection: HTTPConnection) -> bool:
    """Whether a request by cookie was made by one of our own pages, as far as it changes anything.

    Browsers send Sec-Fetch-Site, and Origin with everything that changes state and with WebSockets
    (Fetch standard; RFC 6455, section 10.2). A change that comes with neither is a client's that is no browser, unless its
    body is one that a form of an old browser may have sent.
    """
    site = connection.headers.get("sec-fetch-site")
    origin = connection.headers.get("origin")
    if connection.scope["type"] == "http":
        if connection.scope["method"] in _SAFE:
            return True
        if site is None and origin is None:
            kind = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
            return kind not in _OF_FORMS
    if site not in (None, "same-origin", "none"):
        return False
    try:
        return origin is None or urlsplit(origin).netloc == connection.headers.get("host")
    except ValueError:
        return False


async def most_of_body(connection: HTTPConnection) -> int:
    """How many bytes whoever asks may send. Raises Unauthenticated where a login is needed: clients renew theirs by that."""
    try:
        actor = await actor_of(connection)
    except Unauthenticated:
        if connection.url.path.endswith(_WITHOUT_LOGIN):
            return SMALL_BODY
        raise
    except Forbidden:
        return SMALL_BODY
    return MAX_BODY if changes_something(actor) else SMALL_BODY


async def _current(
    connection: HTTPConnection,
    _b: Annotated[object, Depends(_bearer)],
    _c: Annotated[object, Depends(_cookie)],
) -> Actor:
    return await actor_of(connection)


async def login_first(connection: HTTPConnection) -> None:
    """Raise as `actor_of` does where the call needs a login: who has none is told that, and nothing else that is wrong."""
    route = connection.scope.get("route")
    if isinstance(route, APIRoute) and any(part.call is _current for part in route.dependant.dependencies):
        await actor_of(connection)


CurrentActor = Annotated[Actor, Depends(_current)]
App = Annotated[Testum, Depends(testum_of)]
