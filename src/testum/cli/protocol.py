"""HTTP/1.1 and WebSockets as uvicorn speaks them, but bounded: what a connection may send before a request is whole, how long
it may take, and how many connections there may be. What is refused here gets a problem document and never reaches the
application, whose errors are in `web/errors.py`."""

import asyncio
import json
import socket
from collections import Counter
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from testum import descriptors
from testum.services.guesses import network_of

log = structlog.get_logger(__name__)

MAX_HEAD = 64 * 1024
"""Bytes that a request line and its headers may take, give or take one piece."""
_PIECE = 16 * 1024
HEAD_SECONDS = 20.0
"""So long a request line and its headers may take to come."""
BODY_SECONDS = 20.0
"""In so long, each time, of a body there come at least so many bytes:"""
_BODY_BYTES = 10_000
_UNREAD_MILLISECONDS = 300_000
"""So long a client may leave unread what it is sent."""
_MOST_WARNED = 100


def set_timeouts(listener: socket.socket) -> None:
    """Let the kernel end connections whose peer is gone, or does not read (tcp(7): accepted sockets inherit it)."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MILLISECONDS)


class _Peers:
    """Who is connected, and how often."""

    def __init__(self) -> None:
        self._connections: Counter[str] = Counter()
        self._warned: set[str] = set()

    def enter(self, peer: str) -> None:
        """One more connection."""
        self._connections[peer] += 1

    def leave(self, peer: str) -> None:
        """One less."""
        self._connections[peer] -= 1
        if not self._connections[peer]:
            del self._connections[peer]

    def are_too_many(self, peer: str, *, proxied: bool) -> bool:
        """Whether there are too many connections, of all or of this peer. A proxy has everybody's."""
        most = descriptors.for_clients()
        return self._connections.total() > most or (not proxied and self._connections[peer] > most // 2)

    def warn(self, peer: str) -> None:
        """Say, once for each, that what it forwards is not believed."""
        if peer in self._warned or len(self._warned) >= _MOST_WARNED:
            return
        self._warned.add(peer)
        log.warning(
            "a request was forwarded by a peer that TRUSTED_PROXIES does not name: its X-Forwarded-For is ignored, and "
            "logins and the audit log have the peer's address. Name it there if it is your proxy",
            peer=peer,
        )


_peers = _Peers()


class Protocol(HttpToolsProtocol):
    """One connection."""

    _in_head = True
    _head_bytes = 0
    _body_bytes = 0
    _whole = False
    _beside = 0
    """Bytes that have come since the last ones of the body: sizes of its parts, and trailers."""
    _deadline: asyncio.TimerHandle | None = None
    _peer = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._peer = _peer_of(self.client)
        _peers.enter(self._peer)
        if _peers.are_too_many(self._peer, proxied=self.config.proxy_headers):
            self._refuse(
                503, "Service Unavailable", "too_many_connections", "There are too many connections."
            )
            return
        self._wait(HEAD_SECONDS, self._late_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._wait(None)
        _peers.leave(self._peer)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """From here on the connection is another protocol's."""
        super().handle_websocket_upgrade()
        self._wait(None)
        _peers.leave(self._peer)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._head_bytes, self._whole = True, 0, False
        self._wait(HEAD_SECONDS, self._late_head)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """What follows is the body, whose size the application bounds."""
        self._in_head, self._body_bytes, self._beside = False, 0, 0
        if not self.config.proxy_headers and any(name == b"x-forwarded-for" for name, _ in self.headers):
            _peers.warn(self._peer)
        self._wait(BODY_SECONDS, self._look_at_body)
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or behind the body a trailer, which nobody asks for."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._beside = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._wait(None)
        self._whole = True
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head grows too long: nothing else would bound it."""
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            super().data_received(piece)
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                # Refused, or a WebSocket from here on.
                return
            self._head_bytes += len(piece)
            self._body_bytes += len(piece)
            self._beside += len(piece)
            beside = not self._in_head and not self._whole and self._beside > MAX_HEAD
            if beside or (self._in_head and self._head_bytes >= MAX_HEAD):
                self._refuse(431, "Request Header Fields Too Large", "too_large", "The headers are too long.")
                return
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            # What came was no request yet, such as an empty line.
            self._wait(HEAD_SECONDS, self._late_head)

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        self._refuse(400, "Bad Request", "malformed", msg)

    def _wait(self, seconds: float | None, late: Any = None) -> None:
        """What happens after so long, in the place of what was to happen before."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, late)

    def _late_head(self) -> None:
        if not self._head_bytes:
            # Nothing was asked: there is nobody to be told.
            self.transport.close()
            return
        self._refuse(408, "Request Timeout", "too_slow", "The headers did not come in time.")

    def _look_at_body(self) -> None:
        """A body that is not read has not to come."""
        if self._body_bytes < _BODY_BYTES and not self.flow.read_paused:
            self._refuse(408, "Request Timeout", "too_slow", "The body did not come in time.")
            return
        self._body_bytes = 0
        self._wait(BODY_SECONDS, self._look_at_body)

    def _refuse(self, status: int, title: str, code: str, detail: str) -> None:
        self._wait(None)
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
        content = json.dumps({**body, "error": detail}).encode()
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(head.encode("ascii") + content)
        self.transport.close()


class SocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket."""

    def connection_made(self, transport: Any) -> None:
        """A connection that was HTTP until now."""
        super().connection_made(transport)
        _peers.enter(_peer_of(self.client))

    def data_received(self, data: bytes) -> None:
        """Read on. The handshake comes whole, as it was read: one that begins nothing is refused, and nothing is waited for."""
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        _peers.leave(_peer_of(self.client))
        super().connection_lost(exc)


def _peer_of(client: tuple[str, int] | None) -> str:
    return network_of(client[0]) if client else ""
