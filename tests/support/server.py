"""A real testum for tests, on a free port of the loopback: `testum serve` with all embedded, or (`pytest --mode
servers`) with PostgreSQL, Redis, S3 and a `testum worker` of its own.
"""

import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import psutil
import sqlalchemy as sa
from argon2 import PasswordHasher
from cryptography.fernet import Fernet

from tests.support import postgres, redis, s3
from tests.support.forkserver import ForkedProcess, can_fork
from tests.support.postgres import PostgresServer
from tests.support.redis import RedisServer
from tests.support.s3 import S3Server
from tests.support.sshd import RealSshd, free_port
from tests.support.tools import healthy
from tests.support.waiting import until

ADMIN = ("admin", "correct-horse-battery")
LEASE_SECONDS = 8.0
"""With workers of its own: a dead one is noticed within two of them."""


@dataclass(frozen=True)
class Walls:
    """The servers that testum leans on where one machine is not enough."""

    postgres: PostgresServer
    redis: RedisServer
    s3: S3Server

    def environment(self) -> dict[str, str]:
        """The settings of a new, empty installation."""
        # One Redis has only so many databases; testum's own names begin with the database's.
        number = next(_redis_databases)
        return {
            "DATABASE_URL": self.postgres.create_database(),
            "REDIS_URL": self.redis.url(number),
            "CELERY_BROKER_URL": self.redis.url(number),
            "MINIO_ENDPOINT": self.s3.endpoint,
            "MINIO_ACCESS_KEY": self.s3.access_key,
            "MINIO_SECRET_KEY": self.s3.secret_key,
            "MINIO_BUCKET": f"bucket-{secrets.token_hex(6)}",
            "MINIO_SECURE": "false",
            "MINIO_REGION": self.s3.region,
            "FERNET_KEY": Fernet.generate_key().decode(),
            "SECRET_KEY": secrets.token_urlsafe(48),
            "LEASE_SECONDS": str(LEASE_SECONDS),
            # More take a second longer to start.
            "WORKER_PROCESSES": "1",
        }


_redis_databases = iter(range(1, 4096))


def missing() -> str | None:
    """What this machine lacks for the servers, as a sentence; None when they can run."""
    lacking = [reason for part in (postgres, redis, s3) if (reason := part.missing())]
    return "; ".join(lacking) or None


@functools.cache
def walls() -> Walls:
    """One of each for the whole session; they end with it."""
    return Walls(PostgresServer(), RedisServer(), S3Server())


class Process:
    """A process of testum in a group of its own, with its log."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        log: Path,
        files: int | None = None,
        forked: bool = True,
    ) -> None:
        """`files`: the most that it may have open. `forked`: from a process that has imported testum; False where how it
        starts, or what memory it takes, is shown."""
        self._log = log
        self.popen: subprocess.Popen[bytes] | ForkedProcess
        with log.open("ab") as file:
            if forked and not files and can_fork(env):
                with Path(os.devnull).open() as nothing:
                    streams = (nothing.fileno(), file.fileno(), file.fileno())
                    self.popen = ForkedProcess(arguments, env, folder, streams)
                return
            limit = ["prlimit", f"--nofile={files}:{files}"] if files else []
            self.popen = subprocess.Popen(
                [*limit, sys.executable, "-m", "testum", *arguments],
                # SIGABRT makes Python say where each thread is (faulthandler).
                env={**env, "PYTHONFAULTHANDLER": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=folder,
                start_new_session=True,
            )

    def group(self) -> list[psutil.Process]:
        """Itself and what descends from it."""
        with suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.popen.pid)
            return [own, *own.children(recursive=True)]
        return []

    def signal(self, number: int) -> None:
        """Send a signal to each of the group."""
        for process in self.group():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """kill -9 of the whole group, as a crash of its machine would."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(10)

    def stop(self, wait: float = 30.0) -> int:
        """Stop in order; the exit status. What does not stop is killed."""
        self.popen.send_signal(signal.SIGTERM)
        return self.end(wait)

    def end(self, seconds: float) -> int:
        """Wait for its end and that of all that it has forked; the exit status. What does not end is killed, and the failure
        says what it was doing."""
        try:
            status = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(2)
            self.kill()
            raise AssertionError(
                f"it did not end within {seconds} seconds:\n{self._log.read_text()[-12_000:]}"
            ) from None
        try:
            until(lambda: not self.left(), otherwise=lambda: f"these live on: {self.left()}")
        finally:
            self.kill()
        return status

    def left(self) -> list[psutil.Process]:
        """Those of its group that live, also when it has ended itself."""
        found = []
        for process in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getpgid(process.pid) == self.popen.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


class Installation:
    """One installation: its settings, its data directory, and what tests do with a testum that runs on them."""

    mode = "embedded"
    """Which walls a new one has, `embedded` or `servers`; `pytest --mode` sets it, for all kinds."""
    url: str
    """Where it is."""

    def __init__(
        self, data_dir: Path | None = None, env: Mapping[str, str] | None = None, mode: str | None = None
    ) -> None:
        self._own_folder = data_dir is None
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="testum-data-"))
        self.servers = (mode or self.mode) == "servers"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TESTUM_")}
        self.env = {
            **inherited,
            "DATA_DIR": str(self.data_dir),
            "ADMIN_USERNAME": ADMIN[0],
            "ADMIN_PASSWORD": ADMIN[1],
            # A test that stops a server means its tasks, too, unless it says otherwise.
            **(walls().environment() if self.servers else {"WORKER_DRAIN_SECONDS": "0"}),
            **(env or {}),
        }
        self._engine: sa.Engine | None = None
        self._clients: list[httpx2.Client] = []

    def start(self) -> Self:
        """Start, and wait until it can be used."""
        raise NotImplementedError

    def transport(self) -> httpx2.BaseTransport | None:
        """What carries requests to it; None: the network."""
        return None

    def close(self) -> None:
        """Leave nothing behind; it has been stopped."""
        for client in self._clients:
            client.close()
        if self._engine is not None:
            self._engine.dispose()
        if self._own_folder:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def client(self, username: str = ADMIN[0], password: str = ADMIN[1]) -> "Api":
        """A client that is logged in; it is closed with the installation."""
        client = Api(self.url, username, password, self.transport())
        self._clients.append(client.http)
        return client

    def nobody(self, path: str = "") -> httpx2.Client:
        """A client that is not logged in and keeps cookies, as a browser does, for what is below this path; it is
        closed with the installation."""
        client = httpx2.Client(
            base_url=f"{self.url}{path}", timeout=30, transport=self.transport(), verify=False
        )
        self._clients.append(client)
        return client

    @property
    def secret_key(self) -> str:
        """What its tokens are signed with."""
        return self.env.get("SECRET_KEY") or (self.data_dir / "secret_key").read_text().strip()

    @property
    def fernet_key(self) -> str:
        """What its secrets are sealed with."""
        return self.env.get("FERNET_KEY") or (self.data_dir / "fernet_key").read_text().strip()

    @property
    def engine(self) -> sa.Engine:
        """Its database, past testum."""
        if self._engine is None:
            address = self.env.get("DATABASE_URL", "").replace("postgresql://", "postgresql+psycopg://", 1)
            self._engine = sa.create_engine(
                address or f"sqlite:///{self.data_dir / 'testum.db'}", poolclass=sa.NullPool
            )
        return self._engine

    def execute(self, statement: str, *rows: Mapping[str, Any]) -> Sequence[sa.Row[Any]]:
        """Run a statement in the database with `:name` parameters, once for each row of them."""
        with self.engine.begin() as connection:
            result = connection.execute(sa.text(statement), [dict(row) for row in rows] or None)
            return result.all() if result.returns_rows else []

    def sent(self, job_id: str) -> int:
        """How many tasks of a job are under way on their hosts. `running` is said of what is not sent yet, too: a stop
        gives that back, and after a kill another worker begins it."""
        query = "SELECT count(*) FROM task_runs WHERE job_id = :job AND status = 'running' AND NOT unsent"
        job = job_id if self.servers else job_id.replace("-", "")
        ((number,),) = self.execute(query, {"job": job})
        return int(number)

    def account(self, role: str) -> "Api":
        """A client of a new account with this role, put into the database: there is no API for it yet."""
        name, password = f"{role}-{secrets.token_hex(4)}", secrets.token_urlsafe(9)
        password_hash = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)
        self.execute(
            "INSERT INTO users (id, username, username_key, password_hash, role, must_change_password,"
            " created_at) VALUES (:id, :name, :name, :password_hash, :role, FALSE, '2026-01-01 00:00:00.000000')",
            {"id": secrets.token_hex(16), "name": name, "password_hash": password_hash, "role": role},
        )
        return self.client(name, password)


class Server(Installation):
    """An installation whose testum is processes: a web process and, in the mode "servers", a worker.

    `start` after `kill` uses the same data again.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        env: Mapping[str, str] | None = None,
        mode: str | None = None,
        files: int | None = None,
        forked: bool = True,
    ) -> None:
        """`files`: the most that its web process may have open; `forked`: as for a Process."""
        super().__init__(data_dir, env, mode)
        self._files, self._forked = files, forked
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.data_dir / "server.log"
        self.web: Process | None = None
        self.worker: Process | None = None

    @property
    def process(self) -> subprocess.Popen[bytes] | ForkedProcess:
        """The web process."""
        assert self.web is not None
        return self.web.popen

    def start(self, *, wait: float = 90.0) -> Self:
        """Start and wait until it is healthy, and its worker takes work."""
        self.data_dir.mkdir(exist_ok=True)
        arguments = ["serve", "--port", str(self.port)]
        self.web = Process(arguments, self.env, self.data_dir, self.log, self._files, self._forked)
        if self.servers:
            self.worker = Process(["worker"], self.env, self.data_dir, self.log, forked=self._forked)
        until(
            self._healthy,
            wait,
            otherwise=lambda: f"the server is not healthy:\n{self.log.read_text()[-3000:]}",
        )
        return self

    def _healthy(self) -> bool:
        """Whether it answers and its worker takes work. Raises RuntimeError when it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-3000:]}")
        return healthy(self.url) and self._working()

    def _working(self) -> bool:
        """Whether all processes of the worker have announced themselves."""
        if self.worker is None:
            return True
        here = {f"{socket.gethostname()[:60]}:{process.pid}" for process in self.worker.group()}
        names = [row[0].rpartition(":")[0] for row in self.execute("SELECT id FROM workers")]
        return len(here.intersection(names)) == int(self.env["WORKER_PROCESSES"])

    def kill(self) -> None:
        """kill -9, as a crash would."""
        for process in (self.web, self.worker):
            if process is not None:
                process.kill()

    def end_leases(self) -> None:
        """After `kill`, where leases say who is dead: they are over, and the processes that start next wait only for a
        short one before they believe it. So nothing must run then that needs a long one."""
        if self.servers:
            self.execute("UPDATE task_runs SET lease_expires_at = clock_timestamp() WHERE status = 'running'")
            self.env["LEASE_SECONDS"] = "2"

    def stop(self) -> int:
        """Stop in order; the exit status of the web process."""
        assert self.web is not None
        if self.worker is not None:
            self.worker.popen.send_signal(signal.SIGTERM)
        status = self.web.stop()
        if self.worker is not None:
            self.worker.stop()
        return status

    def close(self) -> None:
        """Stop, and leave nothing behind."""
        if self.web is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.web.kill()
        if self.worker is not None:
            self.worker.kill()
        super().close()


class Api:
    """The REST API, with the few steps that many tests share."""

    def __init__(
        self,
        url: str,
        username: str = ADMIN[0],
        password: str = ADMIN[1],
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url = url
        self.username, self.password = username, password
        # Plain HTTP has no use for the trusted certificates (`ask`).
        self.http = httpx2.Client(base_url=f"{url}/api/v1", timeout=60, transport=transport, verify=False)
        self.tokens = self.ok(
            self.http.post("/auth/login", json={"username": username, "password": password})
        )
        self.http.headers["Authorization"] = f"Bearer {self.tokens['access_token']}"

    @staticmethod
    def ok(response: httpx2.Response) -> Any:
        """The answer's body; fails for an error."""
        assert response.status_code < 400, f"{response.status_code} {response.text}"
        return response.json()

    def get(self, path: str, **params: Any) -> Any:
        """GET, as JSON."""
        return self.ok(self.http.get(path, params=params))

    def post(self, path: str, body: Any = None) -> Any:
        """POST, as JSON."""
        return self.ok(self.http.post(path, json=body))

    def add_platform(self, name: str, sshd: RealSshd, **values: Any) -> Any:
        """A platform on the sshd, by password unless other values say otherwise."""
        body = {
            "name": name,
            "host": "127.0.0.1",
            "port": sshd.port,
            "username": sshd.user.name,
            "auth_method": "password",
            **values,
        }
        if body["auth_method"] == "password":
            body.setdefault("password", sshd.user.password)
        return self.post("/platforms/", body)

    def start_job(self, command: str | None = None, **values: Any) -> str:
        """Start a job on all platforms, unless `targets` says otherwise; its id."""
        body: dict[str, Any] = {"type": "run_command", "targets": {"all": True}, **values}
        if command is not None:
            body["command"] = command
        job_id: str = self.post("/jobs/", body)["job_id"]
        return job_id

    def wait_job(self, job_id: str, seconds: float = 60) -> Any:
        """The job when it is over."""

        def over() -> Any:
            job = self.get(f"/jobs/{job_id}")
            return job if job["status"] not in ("pending", "running") else None

        return until(over, seconds, otherwise=lambda: f"the job is not over: {self.get(f'/jobs/{job_id}')}")

    def tasks(self, job_id: str) -> list[Any]:
        """All tasks of a job."""
        return self.all("/tasks/", job_id=job_id)

    def all(self, path: str, **params: Any) -> list[Any]:
        """Every page of a list."""
        found: list[Any] = []
        url = path
        query: dict[str, Any] | None = {"limit": 500, **params}
        while True:
            response = self.http.get(url, params=query)
            found += self.ok(response)
            following = response.links.get("next")
            if following is None:
                return found
            # None, not an empty dict, which would take the link's own query away.
            url, query = f"{self.url}{following['url']}", None

    def run(self, command: str, seconds: float = 60, **values: Any) -> Any:
        """Run a command on the one platform there is (or the targets given); its task when it is over."""
        job_id = self.start_job(command, **values)
        self.wait_job(job_id, seconds)
        return self.tasks(job_id)[0]

    def output(self, task_id: str, stream: str = "stdout") -> bytes:
        """A task's exact output."""
        response = self.http.get(f"/tasks/{task_id}/output", params={"stream": stream})
        assert response.status_code == 200, response.text
        return response.content
