"""The server's API for the commands: JSON in, JSON out, and problems as exceptions."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import uuid4

import httpx2

from testum import __version__
from testum.cli.failures import Refused, Unanswered, Unreachable, WrongUse
from testum.cli.session import LOGIN_AGAIN, Session

PREFIX = "/api/v1"
PAGE = 500
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Api:
    """One HTTP client for one run of the program. Use it in a `with` statement.

    Every call raises Refused for an error answer and Unreachable if there is none, or none of testum.
    """

    def __init__(self, url: str | None) -> None:
        self.session = Session(url)
        self.tls = httpx2.create_ssl_context() if self.session.url.startswith("https") else None
        self._client = httpx2.Client(
            base_url=self.session.url,
            headers={"User-Agent": f"testum/{__version__}", "Accept": "application/json"},
            timeout=httpx2.Timeout(60, connect=10),
            # Loading the trusted certificates takes longer than a call; plain HTTP has no use for them.
            verify=self.tls or False,
        )

    def __enter__(self) -> "Api":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> Any:
        """What GET answers, decoded."""
        return _decoded(self._call("GET", path, query=query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What POST answers, decoded."""
        return _decoded(self._call("POST", path, body=body))

    def post_once(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The same for what must not be done twice: where the connection ends without an answer, it is sent again with
        the same key, by which the server knows it."""
        headers = {"Idempotency-Key": str(uuid4())}
        try:
            response = self._call("POST", path, body=body, headers=headers)
        except Unanswered:
            response = self._call("POST", path, body=body, headers=headers)
        return _decoded(response)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """What PATCH answers, decoded."""
        return _decoded(self._call("PATCH", path, body=body))

    def delete(self, path: str) -> Any:
        """What DELETE answers, decoded; None for an empty answer."""
        response = self._call("DELETE", path)
        return _decoded(response) if response.content else None

    def post_anonymous(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST without a token: login and refresh. A 401 here is final."""
        return _decoded(_checked(self._send("POST", path, {}, body, "")))

    def pages(self, path: str, **query: Any) -> Iterator[Any]:
        """All items of a list, page after page as its Link headers lead."""
        query = {"limit": PAGE} | query
        while True:
            response = self._call("GET", path, query=query)
            yield from _decoded(response)
            following = response.links.get("next", {}).get("url")
            if not following:
                return
            # Only the query is taken: whatever host the link names, the token goes to ours.
            query = dict(parse_qsl(urlsplit(following).query))

    def download(self, path: str, **query: Any) -> Iterator[bytes]:
        """The raw bytes of an answer, piece by piece."""
        self._ensure_login()
        for attempt in (1, 2):
            token = self.session.token
            request = self._request("GET", path, query, None, token)
            with _reaching(self.session.url):
                response = self._client.send(request, stream=True)
                try:
                    if response.status_code == 401 and attempt == 1 and self._renew(token):
                        continue
                    if response.status_code >= 400:
                        response.read()
                        _checked(response)
                    yield from response.iter_bytes()
                    return
                finally:
                    response.close()

    def renew(self, rejected: str) -> None:
        """Get a fresh access token in place of `rejected`. Raises Refused if there is none to be had."""
        if not self._renew(rejected):
            raise Refused(
                401, {"code": "unauthenticated", "detail": f"The login is not valid. {LOGIN_AGAIN}"}
            )

    def _renew(self, rejected: str) -> bool:
        return self.session.renew(rejected, self.post_anonymous)

    def _ensure_login(self) -> None:
        if not self.session.token:
            problem = {
                "code": "unauthenticated",
                "detail": f"Not logged in at {self.session.url}. {LOGIN_AGAIN}",
            }
            raise Refused(401, problem)

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        self._ensure_login()
        token = self.session.token
        response = self._send(method, path, query or {}, body, token, headers)
        if response.status_code == 401:
            self.renew(token)
            response = self._send(method, path, query or {}, body, self.session.token, headers)
        return _checked(response)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Mapping[str, Any] | None,
        token: str,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        request = self._request(method, path, query, body, token)
        request.headers.update(headers or {})
        with _reaching(self.session.url):
            return self._client.send(request)

    def _request(
        self, method: str, path: str, query: Mapping[str, Any], body: Mapping[str, Any] | None, token: str
    ) -> httpx2.Request:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        params = {key: value for key, value in query.items() if value is not None}
        return self._client.build_request(method, PREFIX + path, params=params, json=body, headers=headers)


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Turns the HTTP library's errors into Unreachable."""
    try:
        yield
    except httpx2.TimeoutException:
        raise Unreachable(f"{url} does not answer in time.") from None
    except (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError) as error:
        raise Unanswered(f"{url} ended the connection without an answer: {error}.") from None
    except httpx2.TransportError as error:
        hint = "Is `testum serve` running, and is --url right?"
        raise Unreachable(f"{url} cannot be reached: {error or type(error).__name__}. {hint}") from None


def path_id(text: str) -> str:
    """An id for use in a path. Raises WrongUse if it is none."""
    if not _UUID.fullmatch(text):
        raise WrongUse(f"{text!r} is not an id.")
    return quote(text.lower())


def is_id(text: str) -> bool:
    """Whether `text` is an id and not a name."""
    return _UUID.fullmatch(text) is not None


def find(api: Api, noun: str, reference: str) -> Any:
    """The object (`platforms`, `keys`, `selections`) that a person named by id or by its exact name. Raises Refused."""
    if is_id(reference):
        return api.get(f"/{noun}/{path_id(reference)}")
    # A server that is older has no such filter of keys; the answer decides.
    for item in api.pages(f"/{noun}/", name=reference):
        if item["name"] == reference:
            return item
    raise Refused(404, {"code": "not_found", "detail": f"There is no {noun[:-1]} named {reference!r}."})


def _checked(response: httpx2.Response) -> httpx2.Response:
    if response.is_success:
        return response
    if response.is_redirect:
        target = response.headers.get("location", "")
        raise Unreachable(f"The server sends us on to {target}; use that address as --url.")
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        raise Unreachable(
            f"{response.url}: HTTP status {response.status_code}, not an answer of testum. Is --url right?"
        )
    raise Refused(response.status_code, problem)


def _decoded(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise Unreachable(f"{response.url}: not an answer of testum. Is --url right?") from None
