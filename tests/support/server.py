"""A real testum server for tests: `testum serve` as a process of its own, on a free port of the loopback."""

import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
from argon2 import PasswordHasher

from tests.support.sshd import RealSshd, free_port

ADMIN = ("admin", "correct-horse-battery")


class Server:
    """One server and its data directory. `start` after `kill` uses the same data again."""

    def __init__(self, data_dir: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        self._own_folder = data_dir is None
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="testum-data-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = dict(env or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.data_dir / "server.log"
        self._clients: list[Api] = []

    def start(self, *, wait: float = 30.0) -> "Server":
        """Start and wait until it is healthy."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("TESTUM_")}
        env |= {
            "DATA_DIR": str(self.data_dir),
            "ADMIN_USERNAME": ADMIN[0],
            "ADMIN_PASSWORD": ADMIN[1],
            **self._env,
        }
        self.data_dir.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "testum", "serve", "--port", str(self.port)],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                start_new_session=True,
            )
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-3000:]}")
            try:
                if httpx2.get(f"{self.url}/health", timeout=2).status_code == 200:
                    return self
            except httpx2.HTTPError:
                time.sleep(0.05)
        raise RuntimeError(f"the server is not healthy:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """kill -9, as a crash would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """Stop in order; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        """Stop, and leave nothing behind."""
        for client in self._clients:
            client.http.close()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        if self._own_folder:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def client(self, username: str = ADMIN[0], password: str = ADMIN[1]) -> "Api":
        """A client that is logged in; it is closed with the server."""
        client = Api(self.url, username, password)
        self._clients.append(client)
        return client

    def account(self, role: str) -> "Api":
        """A client of a new account with this role, put into the database file: there is no API for it yet."""
        name, password = f"{role}-{secrets.token_hex(4)}", secrets.token_urlsafe(9)
        password_hash = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)
        values = (secrets.token_hex(16), name, name, password_hash, role)
        with closing(sqlite3.connect(self.data_dir / "testum.db", timeout=30)) as database, database:
            database.execute(
                "INSERT INTO users (id, username, username_key, password_hash, role, must_change_password,"
                " created_at) VALUES (?, ?, ?, ?, ?, 0, '2026-01-01 00:00:00.000000')",
                values,
            )
        return self.client(name, password)


class Api:
    """The REST API, with the few steps that many tests share."""

    def __init__(self, url: str, username: str = ADMIN[0], password: str = ADMIN[1]) -> None:
        self.url = url
        self.username, self.password = username, password
        self.http = httpx2.Client(base_url=f"{url}/api/v1", timeout=60)
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
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = self.get(f"/jobs/{job_id}")
            if job["status"] not in ("pending", "running"):
                return job
            time.sleep(0.05)
        raise AssertionError(f"the job is not over after {seconds} seconds: {job}")

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
