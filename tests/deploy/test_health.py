"""`testum health`, and the signals that reach the first process of a container."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import TESTUM
from tests.support import forkserver
from tests.support.server import LEASE_SECONDS, Server
from tests.support.sshd import free_port
from tests.support.waiting import until


def health(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return forkserver.run_text("health", *arguments, env=env)


def test_of_a_server(server: Server) -> None:
    ran = health("--url", server.url)
    assert (ran.returncode, ran.stdout) == (0, f"{server.url} answers.\n")
    # A proxy that the environment names is for other servers.
    env = server.env | {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    assert health("--url", server.url, env=env).returncode == 0


@pytest.mark.embedded
def test_of_nothing() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ran = health("--url", url)
    assert ran.returncode == 3 and ran.stderr.startswith(f"testum: {url} does not answer: ")
    assert ran.stderr.count("\n") == 1


@pytest.mark.embedded
def test_of_something_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        asking = subprocess.Popen([TESTUM, "health", "--url", url], stderr=subprocess.PIPE, text=True)
        connection, _ = other.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            _, said = asking.communicate(timeout=10)
    assert asking.returncode == 3 and "is no testum that works" in said


@pytest.mark.embedded
def test_of_a_worker_where_there_is_none(server: Server) -> None:
    ran = health("--worker", env=server.env)
    assert ran.returncode == 2 and "DATABASE_URL names no server" in ran.stderr


@pytest.mark.servers
def test_of_a_worker() -> None:
    with Server(env={"WORKER_PROCESSES": "2"}) as server:
        ran = health("--worker", env=server.env)
        name = socket.gethostname()
        assert (ran.returncode, ran.stdout) == (0, f"The worker of {name} lives: 2 processes.\n")
        assert server.worker is not None
        server.worker.kill()
        # As if a lease had gone by since.
        server.execute(f"UPDATE workers SET seen_at = seen_at - interval '{LEASE_SECONDS} seconds'")
        until(lambda: health("--worker", env=server.env).returncode == 1, 30)
        # Its database's absence is nothing that a new start would mend.
        away = server.env | {"DATABASE_URL": f"postgresql://x:y@127.0.0.1:{free_port()}/z"}
        ran = health("--worker", env=away)
        assert ran.returncode == 0 and "nothing is known of the worker" in ran.stdout


@pytest.mark.embedded
def test_the_first_process_of_a_container_ends_when_told_to() -> None:
    """The kernel brings a namespace's first process no signal that it does not handle: it would be killed in the end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        outer = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", TESTUM, "health", "--url", url]
        )
        connection, _ = silent.accept()
        with connection:
            # It waits for an answer now, for five seconds.
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            subprocess.run(["kill", f"-{signal.SIGTERM}", *children], check=True)
            assert outer.wait(30) == 128 + signal.SIGTERM
