"""HTTP/1.1 as uvicorn speaks it, but bounded before a request is whole, and with problem documents for
what is no HTTP. Such requests never reach the application, whose errors are in `web/errors.py`."""

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 64 * 1024
"""Bytes that a request line and its headers may take, give or take one piece."""
_PIECE = 16 * 1024


class Protocol(HttpToolsProtocol):
    """One connection."""

    _in_head = True
    _head_bytes = 0

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """What follows is the body, which the application bounds."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head grows too long: nothing else would bound it."""
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            super().data_received(piece)
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                # Refused, or a WebSocket from here on.
                return
            self._head_bytes += len(piece)
            if self._in_head and self._head_bytes >= MAX_HEAD:
                self._refuse(431, "Request Header Fields Too Large", "too_large", "The headers are too long.")

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        self._refuse(400, "Bad Request", "malformed", msg)

    def _refuse(self, status: int, title: str, code: str, detail: str) -> None:
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
        content = json.dumps(body).encode()
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + content)
        self.transport.close()
