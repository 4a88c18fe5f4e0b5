"""The installed `testum` as a person runs it: a process of its own, with its own home, against a fake server."""

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import forkserver

from .fake_api import FakeApi, FakeServer

TESTUM = Path(sys.executable).with_name("testum")


@dataclass
class Terminal:
    """A process on a terminal of its own; `text` is all it has shown so far."""

    process: subprocess.Popen[bytes]
    master: int
    text: str = ""
    _raw: bytes = b""

    def read_until(self, wanted: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while wanted not in self.text:
            assert time.monotonic() < end, f"{wanted!r} did not appear in {self.text!r}"
            if not self._read(0.2):
                assert wanted in self.text, f"ended without {wanted!r}: {self.text!r}"

    def finish(self, seconds: float = 60) -> int:
        end = time.monotonic() + seconds
        while self._read(0.2):
            assert time.monotonic() < end, f"still runs: {self.text!r}"
        return self.process.wait(seconds)

    def press(self, data: bytes) -> None:
        os.write(self.master, data)

    def _read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux says EIO when the other side has closed.
            return False
        self._raw += data
        self.text = self._raw.decode("utf-8", "replace")
        return bool(data)


def _take_terminal() -> None:
    """Make stdin the controlling terminal, so that Ctrl-C typed there is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@dataclass
class Cli:
    """Runs `testum` against the fake."""

    fake: FakeApi
    home: Path
    extra: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.home / "config" / "config.json"

    @property
    def env(self) -> dict[str, str]:
        # Nothing of the tester's own but which testum is run, and whether it is measured.
        python = {
            name: value for name, value in os.environ.items() if name.startswith(("PYTHON", "COVERAGE_"))
        }
        return python | {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", "TERM": "xterm",
            "TESTUM_CONFIG": str(self.config), "TESTUM_URL": self.fake.url, "USER": "me",
        } | self.extra  # fmt: skip

    def __call__(self, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return forkserver.run(*args, env=self.env, folder=self.home, stdin=stdin)

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [TESTUM, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=self.env, cwd=self.home,
        )  # fmt: skip
        self.started.append(process)
        return process

    def terminal(self, *args: str, stdout: int | None = None) -> Terminal:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [TESTUM, *args], stdin=slave, stdout=slave if stdout is None else stdout, stderr=slave,
            env=self.env, cwd=self.home, start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - one system call, which takes no lock
        )  # fmt: skip
        os.close(slave)
        self.started.append(process)
        return Terminal(process, master)

    def login(self) -> None:
        self.home.joinpath("config").mkdir(exist_ok=True)
        pair = self.fake._pair()
        account = {"username": "admin"} | {key: pair[key] for key in ("access_token", "refresh_token")}
        self.config.write_text(json.dumps({"url": self.fake.url, "accounts": {self.fake.url: account}}))
        self.config.chmod(0o600)


@pytest.fixture(scope="session")
def server() -> Iterator[FakeApi]:
    fake = FakeApi()
    running = FakeServer(fake)
    yield fake
    running.stop()


@pytest.fixture
def fake(server: FakeApi) -> FakeApi:
    """The session's server with nothing in it."""
    fresh = FakeApi(url=server.url)
    server.__dict__.update(fresh.__dict__)
    return server


@pytest.fixture
def anonymous(fake: FakeApi, tmp_path: Path) -> Iterator[Cli]:
    cli = Cli(fake, tmp_path)
    yield cli
    for process in cli.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.fixture
def cli(anonymous: Cli) -> Cli:
    anonymous.login()
    return anonymous
