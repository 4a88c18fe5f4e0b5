"""Connections to the web server: how many there may be, and how long they may take to say what they want."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from unittest.mock import patch
from uuid import uuid4

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.application import Listening
from tests.support.waiting import stays, until
from testum import descriptors
from testum.cli import protocol
from testum.web import streams

SHORT = 0.4


@pytest.fixture(scope="module")
def site() -> Iterator[Listening]:
    with (
        patch.multiple(protocol, HEAD_SECONDS=SHORT, BODY_SECONDS=SHORT),
        Listening() as application,
    ):
        yield application


def port(site: Listening) -> int:
    return int(site.url.rpartition(":")[2])


def opened(site: Listening, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port(site)), timeout=20, source_address=(source, 0))


def everything(connection: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


HEADS = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "half a line": b"GET /health HT",
    "half a head": b"GET /health HTTP/1.1\r\nHost: x\r\n",
    "half a body": b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{",
    "half a chunk": b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
}


@pytest.mark.parametrize("said", HEADS)
def test_who_says_half_is_not_waited_for(site: Listening, said: str) -> None:
    with opened(site) as connection:
        connection.sendall(HEADS[said])
        answer = everything(connection)
    assert answer == b"" if said == "nothing" else answer.startswith(b"HTTP/1.1 408 "), answer


def test_trailers_have_an_end(site: Listening) -> None:
    """Nobody asks for them, and each was kept."""
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n"
    for trailer in (b"a: b\r\n", b"a"):
        with opened(site) as connection:
            connection.sendall(head)
            sent = 0
            with suppress(OSError):
                while sent < 4_000_000:
                    connection.sendall(trailer * 4096)
                    sent += len(trailer) * 4096
            assert sent < 4_000_000, "the server hung up"


@pytest.mark.parametrize("extra", [b"X: " + b"a" * 9000 + b"\r\n", b"X: a\r\n" * 300], ids=["long", "many"])
def test_a_handshake_that_begins_nothing_is_refused(site: Listening, extra: bytes) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    with opened(site) as connection:
        connection.sendall(b"GET /ws/jobs/x HTTP/1.1\r\nHost: x\r\n" + upgrade + key + extra + b"\r\n")
        everything(connection)


def test_a_head_that_drips(site: Listening) -> None:
    """Each byte in time, and all of it not."""
    with opened(site) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        connection.setblocking(False)

        def refused() -> bool:
            # Where the server has closed already, the answer is there to be read all the same.
            with suppress(ConnectionError):
                connection.send(b"a: b\r\n")
            try:
                return connection.recv(100).startswith(b"HTTP/1.1 408 ")
            except BlockingIOError:
                return False

        until(refused)


def test_a_body_that_comes_slowly_but_comes(site: Listening) -> None:
    """Not all of it in the time of one look."""
    body = b'{"username": "x", "password": "y"}' + b" " * 15_900
    kind = b"Connection: close\r\nContent-Type: application/json"
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n"
    look, looked = protocol.Protocol._look_at_body, threading.Event()

    def look_once(connection: protocol.Protocol) -> None:
        protocol.BODY_SECONDS = 30.0
        look(connection)
        looked.set()

    with (
        patch.object(protocol, "BODY_SECONDS", SHORT),
        patch.object(protocol.Protocol, "_look_at_body", look_once),
        opened(site) as connection,
    ):
        connection.sendall(head % (kind, len(body)) + body[:12_000])
        assert looked.wait(20)
        connection.sendall(body[12_000:])
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 401 "), answer


def test_a_connection_that_was_used_waits_for_the_next_request(site: Listening) -> None:
    """Longer than our own clients keep theirs (5 s), so that no request meets a server that is just closing it."""
    with opened(site) as connection:

        def asked() -> bool:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            return connection.recv(65_536).startswith(b"HTTP/1.1 200 ")

        assert asked()
        stays(lambda: protocol._peers._connections["127.0.0.1"], 6)
        assert asked()


def test_one_address_takes_half_of_the_connections(site: Listening) -> None:
    live = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
    with patch.object(descriptors, "for_clients", lambda: 200), ExitStack() as stack:
        for _ in range(100):
            connection = stack.enter_context(opened(site, "127.0.0.3"))
            connection.sendall(live + b"\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        with opened(site, "127.0.0.3") as one_more:
            refused = everything(one_more)
        assert refused.startswith(b"HTTP/1.1 503 ") and b'"too_many_connections"' in refused
        # Another address has the other half.
        with opened(site, "127.0.0.2") as other:
            other.sendall(live + b"Connection: close\r\n\r\n")
            assert everything(other).startswith(b"HTTP/1.1 200 ")


def test_one_account_has_so_many_sockets(site: Listening) -> None:
    api = site.client()
    headers = {"Authorization": f"Bearer {api.tokens['access_token']}"}
    address = f"{site.url.replace('http', 'ws')}/ws/jobs/"
    with (
        patch.object(streams, "MOST_OF_ONE", 0),
        connect(f"{address}{uuid4()}", additional_headers=headers) as ws,
    ):
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=20)
        assert ws.close_code == 4429
    with connect(f"{address}{uuid4()}", additional_headers=headers) as ws:
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=20)
        assert ws.close_code == 4404
    assert not streams._open


def test_what_a_stranger_forwards_is_told_once(site: Listening) -> None:
    protocol._peers._warned.clear()
    with capture_logs() as logged, site.nobody() as http:
        for _ in range(3):
            http.get(f"{site.url}/health/live", headers={"X-Forwarded-For": "198.51.100.1"})
    told = [entry for entry in logged if "TRUSTED_PROXIES" in entry["event"]]
    assert [entry["peer"] for entry in told] == ["127.0.0.1"]
