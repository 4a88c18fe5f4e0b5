"""The client of the API below the commands, against a server that hangs up."""

import socket
import threading

import pytest

from testum.cli.api import Api


def test_what_was_not_answered_is_sent_again_with_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in (b"", b'{"id": "1"}'):
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    if answer:
                        head = f"HTTP/1.1 202 Accepted\r\ncontent-length: {len(answer)}\r\n\r\n"
                        connection.sendall(head.encode() + answer)

        serving = threading.Thread(target=serve)
        serving.start()
        monkeypatch.setenv("TESTUM_TOKEN", "t")
        with Api(f"http://127.0.0.1:{listener.getsockname()[1]}") as api:
            assert api.post_once("/jobs/", {}) == {"id": "1"}
        serving.join()
    first, second = (
        [line for line in request.split(b"\r\n") if line.lower().startswith(b"idempotency-key: ")]
        for request in asked
    )
    assert first == second and len(first) == 1
