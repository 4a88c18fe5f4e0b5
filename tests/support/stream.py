"""Watching a task or a job over the WebSocket, as any client would."""

import base64
import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.server import Api


@contextmanager
def watch(
    api: Api, path: str, after: int | None = None, *, authorization: str | None = None, **options: Any
) -> Iterator[ClientConnection]:
    """A WebSocket to `/ws/` + path, with the API's login unless another is given. It is dropped without a word at the end, as a lost client would be."""
    query = "" if after is None else f"?after={after}"
    address = f"{api.url.replace('http', 'ws', 1)}/ws/{path}{query}"
    own = api.http.headers["Authorization"]
    headers = {"Authorization": own if authorization is None else authorization}
    # The library would wait for its reader to see the end, which stands still where much has come unread.
    with connect(
        address,
        additional_headers=headers,
        compression=None,
        max_size=None,
        ping_interval=None,
        close_timeout=0,
        **options,
    ) as watching:
        try:
            yield watching
        finally:
            with suppress(OSError):
                watching.socket.shutdown(socket.SHUT_RDWR)


def messages(watching: ClientConnection) -> Iterator[Any]:
    """Every message until the server closes."""
    for text in watching:
        assert isinstance(text, str)
        message = json.loads(text)
        assert isinstance(message["payload"], str), "of every type"
        yield message


def follow(api: Api, path: str, after: int | None = None) -> list[Any]:
    """Every message until the server closes."""
    with watch(api, path, after) as watching:
        return list(messages(watching))


def data_of(message: Any) -> bytes:
    """An output message's exact bytes."""
    if "data" in message:
        return base64.b64decode(message["data"], validate=True)
    data: bytes = message["payload"].encode()
    return data


def output_of(told: Iterable[Any], *streams: str) -> bytes:
    """All output of these streams among the messages."""
    return b"".join(data_of(message) for message in told if message["type"] in streams)
