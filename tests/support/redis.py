"""A private Redis server for tests, on a free port of the loopback."""

import atexit
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from redis import Redis
from redis.exceptions import RedisError

from tests.support.sshd import free_port
from tests.support.waiting import until

PROGRAM = "redis-server"


def missing() -> str | None:
    """What this machine lacks for a Redis server, as a sentence; None when it can run."""
    if shutil.which(PROGRAM) is None:
        return "Redis is not installed (Debian: apt install redis-server)"
    return None


class RedisServer:
    """One server, started. `start` after `kill` or `stop` uses the same port; with `appendonly` it has its
    data again, without it is empty, as a Redis that is only a broker.
    """

    def __init__(self, *, appendonly: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="testum-redis-"))
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._databases = iter(range(1, 4096))
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            # As many installations as a session of tests makes.
            "databases 4096",
            f"requirepass {self.password}",
            f"dir {self.folder}",
            'save ""',
            f"appendonly {'yes' if appendonly else 'no'}",
            # What is written survives a killed server all the same, and no answer waits for the disk.
            "appendfsync no",
        ]
        (self.folder / "redis.conf").write_text("\n".join(lines) + "\n")
        atexit.register(self.close)
        self.start()

    def url(self, db: int = 0, *, password: str | None = None) -> str:
        """The address of a database, with the password (or another one)."""
        return f"redis://:{password or self.password}@127.0.0.1:{self.port}/{db}"

    def fresh_url(self) -> str:
        """The address of a database that nobody has used."""
        return self.url(next(self._databases))

    def start(self, *, wait: float = 30.0) -> None:
        """Start, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, str(self.folder / "redis.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, wait, otherwise=lambda: f"Redis:\n{self.log.read_text()[-3000:]}")

    def _answers(self) -> bool:
        """Whether it answers. Raises RuntimeError where it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"Redis did not start:\n{self.log.read_text()[-3000:]}")
        try:
            # Nobody listens at first, and while it reads its data it says so and does nothing else.
            with Redis.from_url(self.url(), socket_timeout=5) as client:
                client.ping()
        except RedisError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def kill(self) -> None:
        """kill -9, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop in order."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Stop in order and start again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang: it takes connections and does not answer."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop and leave nothing behind."""
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "RedisServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
