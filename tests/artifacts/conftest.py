"""Stores of both kinds, and a server that answers as it is told."""

import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.s3 import S3Server
from testum.artifacts.store import ObjectStore


def connect(server: S3Server, bucket: str, **changed: Any) -> ObjectStore:
    """A store in a bucket of the server; arguments of `ObjectStore.s3` may be changed."""
    given: dict[str, Any] = {
        "endpoint": server.endpoint,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "bucket": bucket,
        "secure": False,
        "region": server.region,
    }
    return ObjectStore.s3(**given | changed)


def new_bucket() -> str:
    """A name that is not taken."""
    return f"bucket-{secrets.token_hex(6)}"


@pytest.fixture(params=["local", "s3"])
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], ObjectStore]:
    """Makes stores of one place, which is not there yet."""
    if request.param == "local":
        return lambda: ObjectStore.local(tmp_path / "data" / "artifacts")
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = new_bucket()
    return lambda: connect(server, bucket)


@pytest.fixture
async def store(another: Callable[[], ObjectStore]) -> ObjectStore:
    """A store that is prepared, and empty."""
    made = another()
    await made.prepare()
    return made


@dataclass(frozen=True)
class Request:
    """What a client asked. Header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Fake:
    """An HTTP server that notes requests and answers each as `answer` says (status, headers, body).

    For answers that the real server gives to nobody: another owner's bucket, quotas, encryption.
    """

    answer: Callable[[Request], tuple[int, dict[str, str], str]] = lambda _: (200, {}, "")
    requests: list[Request] = field(default_factory=list)
    endpoint: str = ""

    def store(self, **changed: Any) -> ObjectStore:
        """A store that asks it."""
        given = {"endpoint": self.endpoint, "secure": False}
        return ObjectStore.s3(
            **given | {"access_key": "key", "secret_key": "secret", "bucket": "ours"} | changed
        )

    def refuse(self, status: int, code: str, **headers: str) -> None:
        """Answer everything with an error of S3."""
        self.answer = lambda _: (status, headers, f"<Error><Code>{code}</Code></Error>")


@pytest.fixture
def fake() -> Iterator[Fake]:
    """See Fake."""
    told = Fake()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body.decode("latin-1"))
            told.requests.append(request)
            status, answered, text = told.answer(request)
            self.send_response(status)
            for name, value in answered.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = do_POST = _serve

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        # Clients keep their connections: nobody is to wait for those.
        server.daemon_threads = True
        server.block_on_close = False
        told.endpoint = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield told
        server.shutdown()
        thread.join()
