"""A private PostgreSQL for tests, on a free port of the loopback, run by the system user postgres if we are root
(PostgreSQL refuses to run as root).
"""

import atexit
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import psycopg
from psycopg import sql

from tests.support.clock import Clock
from tests.support.sshd import free_port, run
from tests.support.waiting import until

SYSTEM_USER = "postgres"


def _programs() -> Path | None:
    """The folder of the newest PostgreSQL server's programs. Debian keeps them out of PATH, and its pg_config
    comes with the client's headers only."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    if shutil.which("pg_config"):
        folder = Path(run("pg_config", "--bindir").strip())
        if (folder / "initdb").exists():
            return folder
    return None


def missing() -> str | None:
    """What this machine lacks for a PostgreSQL server, as a sentence; None when it can run."""
    if _programs() is None:
        return "PostgreSQL is not installed (Debian: apt install postgresql)"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            return f"PostgreSQL does not run as root, and there is no system user {SYSTEM_USER}"
    return None


def _alive(process: psutil.Process) -> bool:
    # One whose parent has gone may stay a zombie: not every container's first process buries them.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class PostgresServer:
    """One server, started; its user may do everything. `start` after `stop` or `kill` has the same data.

    Only the machine's own crash could lose what is committed (fsync is off); a killed server loses nothing.
    """

    user = "testum"

    def __init__(self, clock: Clock | None = None) -> None:
        """`clock`: by which it has the time, in place of the machine's."""
        programs = _programs()
        assert programs is not None, missing()
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="testum-postgres-"))
        self.port = free_port()
        self.password = secrets.token_hex(12)
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        # What a child process needs to run as the system user.
        self._as: dict[str, Any] = {"cwd": self.folder}
        if os.geteuid() == 0:
            self._as |= {"user": SYSTEM_USER, "group": SYSTEM_USER, "extra_groups": []}
        atexit.register(self.close)
        self._clock = {} if clock is None else clock.environment()
        self._make()
        self.start()

    def _make(self) -> None:
        """Make the data directory, and the settings that are not PostgreSQL's own."""
        data, password_file = self.folder / "data", self.folder / "password"
        password_file.write_text(self.password)
        if os.geteuid() == 0:
            for path in (self.folder, password_file):
                shutil.chown(path, SYSTEM_USER, SYSTEM_USER)
        options = [
            *("--pgdata", data, "--username", self.user, "--pwfile", password_file),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"),
            *("--no-sync", "--no-instructions"),
        ]
        done = subprocess.run(
            [self._programs / "initdb", *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **self._as,
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed: {done.stderr.strip()}")
        lines = [
            "listen_addresses = '127.0.0.1'",
            f"port = {self.port}",
            f"unix_socket_directories = '{self.folder}'",
            "max_connections = 200",
            "fsync = off",
            "full_page_writes = off",
            # In the data directory: a killed server leaves nothing in /dev/shm.
            "dynamic_shared_memory_type = mmap",
        ]
        with (data / "postgresql.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")

    def url(self, database: str = "postgres", *, password: str | None = None) -> str:
        """The address of a database, with the password (or another one)."""
        return f"postgresql://{self.user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, *, template: str = "template1") -> str:
        """Create a database with a name of its own, empty or a copy of another one; its address."""
        name = f"testum_{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return self.url(name)

    def start(self, *, wait: float = 30.0) -> None:
        """Start, and wait until it takes connections."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.folder / "data"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._clock},
                start_new_session=True,
                **self._as,
            )
        until(self._answers, wait, otherwise=lambda: f"PostgreSQL:\n{self.log.read_text()[-3000:]}")

    def _answers(self) -> bool:
        """Whether it takes connections. Raises RuntimeError where it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text()[-3000:]}")
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, *, immediate: bool = False) -> None:
        """Stop: cut all connections and write everything down, or (immediate) leave that to the next start."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
            self.process.wait(60)
            self.process = None

    def restart(self, *, immediate: bool = False) -> None:
        """Stop and start again."""
        self.stop(immediate=immediate)
        self.start()

    def kill(self) -> None:
        """kill -9 of all its processes, as a crash would."""
        if self.process is not None:
            processes = self.pause()
            self._signal(processes, signal.SIGKILL)
            self.process.wait(10)
            self.process = None
            # The next start would find the memory they share in use.
            until(lambda: not any(_alive(process) for process in processes))

    @staticmethod
    def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _processes(self) -> list[psutil.Process]:
        """All its processes, the listener first."""
        assert self.process is not None
        try:
            listener = psutil.Process(self.process.pid)
            return [listener, *listener.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def pause(self) -> list[psutil.Process]:
        """Let it hang: it takes connections and does not answer. All its processes, the listener first."""
        assert self.process is not None
        # First the listener: it makes the others.
        self.process.send_signal(signal.SIGSTOP)
        processes = self._processes()
        self._signal(processes, signal.SIGSTOP)
        return processes

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(self._processes(), signal.SIGCONT)

    def close(self) -> None:
        """Stop and leave nothing behind."""
        atexit.unregister(self.close)
        if self.process is not None:
            # Not killed: the listener is to bury its children, or they stay zombies where nobody else does.
            self.resume()
            self.stop(immediate=True)
        with suppress(OSError):
            # After a kill: the mark by which a second server on the same data would know of the first.
            segment = (self.folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
            run("ipcrm", "-m", segment, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "PostgresServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
