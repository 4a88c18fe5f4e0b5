"""Processes of testum that are forked from one that has imported it: its imports take a second of the processor each time.

`python -m tests.support.forkserver FD` is that one. It runs no thread and opens nothing; what is forked from it shares
nothing with it but modules.
"""

import atexit
import faulthandler
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

_MODULES = (
    "alembic.command", "celery.apps.worker", "celery.concurrency.prefork", "fastapi_swagger", "kombu.transport.redis",
    "obstore.store", "testum.app", "testum.cli.main", "testum.cli.webserver", "testum.db.postgresql", "testum.db.sqlite",
    "testum.execution.actions.connection", "testum.execution.actions.run", "testum.features.builtin",
    "testum.features.keys.actions", "testum.features.keys.api", "testum.web.factory", "testum.worker", "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
)  # fmt: skip
_READ_AT_THE_START = ("PYTHON", "COVERAGE_", "LD_", "MALLOC_", "TZ", "LANG", "LC_")
"""How variables begin that an interpreter reads when it starts, and not again."""
_UTF8 = ("", "C", "C.UTF-8", "POSIX")
"""Languages that mean the same to Python."""
_MOST_OF_REQUEST = 200_000
_WIDTH = 12
"""Characters of a number that is told: a process's id, then its status as os.waitpid has it."""


def can_fork(env: Mapping[str, str]) -> bool:
    """Whether a process with this environment can be forked: what is read at the start is the same, and nobody measures what
    begins with it (coverage)."""
    return _at_the_start(env) == _at_the_start(os.environ) and not any(
        name.startswith("COVERAGE_") for name in env
    )


def _at_the_start(env: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in env.items()
        if name.startswith(_READ_AT_THE_START) and not (name.startswith(("LANG", "LC_")) and value in _UTF8)
    }


class ForkedProcess:
    """As much of subprocess.Popen as tests use, of a process that is not a child of this one."""

    def __init__(
        self, arguments: Sequence[str], env: Mapping[str, str], folder: Path, streams: tuple[int, int, int]
    ) -> None:
        """Run `testum` with these arguments in this folder; `streams` are the descriptors that become its 0, 1 and 2."""
        self.args = list(arguments)
        self.returncode: int | None = None
        self._told, tell = os.pipe()
        request = {"arguments": self.args, "env": dict(env), "folder": str(folder)}
        try:
            socket.send_fds(_requests(), [json.dumps(request).encode()], [*streams, tell])
        finally:
            os.close(tell)
        self.pid = self._next()

    def poll(self) -> int | None:
        """Its exit status, negative for a signal, once it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The same, once it has ended. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._told, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(self._next())
            os.close(self._told)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing is sent to one that has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _next(self) -> int:
        if not (number := os.read(self._told, _WIDTH)):
            raise RuntimeError("the process that forks others has ended")
        return int(number)


def run(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stdin: bytes = b"",
    seconds: float = 60,
) -> subprocess.CompletedProcess[bytes]:
    """Run `testum` to its end, without a terminal. Raises subprocess.TimeoutExpired."""
    command, env, folder = ["testum", *arguments], env or os.environ, folder or Path.cwd()
    if not can_fork(env):
        return subprocess.run(
            [Path(sys.executable).with_name("testum"), *arguments],
            input=stdin, capture_output=True, env=env, cwd=folder, timeout=seconds, check=False,
        )  # fmt: skip
    with ExitStack() as files:
        given, out, err = streams = [files.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        given.write(stdin)
        given.seek(0)
        process = ForkedProcess(arguments, env, folder, (given.fileno(), out.fileno(), err.fileno()))
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        for stream in streams:
            stream.seek(0)
        return subprocess.CompletedProcess(command, status, out.read(), err.read())


def run_text(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stdin: str = "",
    seconds: float = 60,
) -> subprocess.CompletedProcess[str]:
    """The same with text."""
    ran = run(*arguments, env=env, folder=folder, stdin=stdin.encode(), seconds=seconds)
    return subprocess.CompletedProcess(ran.args, ran.returncode, ran.stdout.decode(), ran.stderr.decode())


_asking: list[socket.socket] = []
_one_at_a_time = threading.Lock()


def _requests() -> socket.socket:
    """Where this process asks for others; what forks them is started when it is needed, and ends with this process."""
    with _one_at_a_time:
        if not _asking:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                forks = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    start_new_session=True, cwd=Path(__file__).parents[2],
                )  # fmt: skip
            _asking.append(ours)
            atexit.register(_end, ours, forks)
        return _asking[0]


def _end(requests: socket.socket, forks: subprocess.Popen[bytes]) -> None:
    requests.close()
    forks.wait(10)


def _serve(requests: socket.socket) -> list[str] | None:
    """Fork processes until nobody asks for any more, then end those that are left: None. In each that is forked: its
    arguments."""
    selector = selectors.DefaultSelector()
    selector.register(requests, selectors.EVENT_READ)
    running: dict[int, tuple[int, int]] = {}
    """By their file descriptors: the ids of those that run, and where their end is told."""
    while True:
        for key, _ in selector.select():
            if key.fd in running:
                pid, tell = running.pop(key.fd)
                selector.unregister(key.fd)
                os.close(key.fd)
                _tell(tell, os.waitpid(pid, 0)[1])
                os.close(tell)
                continue
            text, descriptors, _, _ = socket.recv_fds(requests, _MOST_OF_REQUEST, 4)
            if not text:
                # Nobody stops them any more.
                for pid, _ in running.values():
                    with suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                return None
            *streams, tell = descriptors
            if (pid := os.fork()) == 0:
                selector.close()
                for descriptor in (tell, *running, *(each for _, each in running.values())):
                    os.close(descriptor)
                return _begin(json.loads(text), streams)
            for descriptor in streams:
                os.close(descriptor)
            _tell(tell, pid)
            watched = os.pidfd_open(pid)
            selector.register(watched, selectors.EVENT_READ)
            running[watched] = pid, tell


def _tell(descriptor: int, number: int) -> None:
    # Who asked may be gone.
    with suppress(BrokenPipeError):
        os.write(descriptor, f"{number:{_WIDTH}}".encode())


def _begin(request: dict[str, Any], streams: Sequence[int]) -> list[str]:
    """Become as one that was started: a session, folder, environment and streams of its own."""
    os.setsid()
    os.chdir(request["folder"])
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["env"])
    # SIGABRT makes Python say where each thread is.
    faulthandler.enable()
    arguments: list[str] = request["arguments"]
    return arguments


def _main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        for module in _MODULES:
            importlib.import_module(module)
        gc.collect()
        gc.freeze()
        if len(list(Path("/proc/self/task").iterdir())) != 1:
            raise RuntimeError("a thread would be missing in what is forked")
        arguments = _serve(requests)
    if arguments is not None:
        sys.argv = ["testum", *arguments]
        run = importlib.import_module("testum.__main__").main
        run()


if __name__ == "__main__":
    _main()
