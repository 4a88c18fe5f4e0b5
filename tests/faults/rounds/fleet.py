"""The installation that the faults are made in."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.support.clock import Clock
from tests.support.postgres import PostgresServer
from tests.support.proxy import Proxies, Proxy
from tests.support.redis import RedisServer
from tests.support.s3 import S3Server
from tests.support.server import ADMIN, Api, Process, Walls
from tests.support.sshd import RealSshd, free_port
from tests.support.tools import healthy
from tests.support.waiting import until

LEASE_SECONDS = 10.0
_ADDRESSES = 16
_WORKERS = 3
_WEBS = 2
_HEALTHY_SECONDS = 60.0
_STORE_MIB = 64
"""For all that one server's tasks print."""


@dataclass
class Part:
    """The one server, or a web process or a worker with its own ways to the servers."""

    name: str
    arguments: list[str]
    env: dict[str, str]
    folder: Path
    clock: Clock | None = None
    ways: dict[str, Proxy] = field(default_factory=dict)
    process: Process | None = None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        """Start; the supervisor's part, also after a crash."""
        self.process = Process(self.arguments, self.env, self.folder, self.log)

    @property
    def running(self) -> Process:
        assert self.process is not None
        return self.process


class Fleet:
    """All of it: servers, parts, hosts, and a client that goes to whichever web process answers. `workers` are the parts
    that run tasks."""

    def __init__(self, mode: str, platforms: int, *, clocks: bool) -> None:
        """`clocks`: each part, and PostgreSQL, has a clock that can be set."""
        self.mode = mode
        self.platforms = platforms
        self.folder = Path(tempfile.mkdtemp(prefix="testum-faults-"))
        self._clocks: list[Clock] = []
        self._has_clocks = clocks
        self.walls_clock = self._clock()
        self.walls = (
            Walls(PostgresServer(self.walls_clock), RedisServer(), S3Server()) if mode == "servers" else None
        )
        self.proxies = Proxies()
        self.host = RealSshd(addresses=_ADDRESSES)
        common = {
            **os.environ,
            "ADMIN_USERNAME": ADMIN[0],
            "ADMIN_PASSWORD": ADMIN[1],
            "ACCESS_TOKEN_SECONDS": "86400",
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "WORKER_DRAIN_SECONDS": "20",
        }
        if self.walls is None:
            self.webs = self.workers = self.parts = [self._server(common)]
        else:
            # All parts share the installation's settings, but each has its own ways.
            common |= {**self.walls.environment(), "LEASE_SECONDS": str(LEASE_SECONDS)}
            self.webs = [self._part(f"web{number}", common, web=True) for number in range(_WEBS)]
            self.workers = [self._part(f"worker{number}", common, web=False) for number in range(_WORKERS)]
            self.parts = [*self.webs, *self.workers]
        self.token = ""

    def _clock(self) -> Clock | None:
        if not self._has_clocks:
            return None
        self._clocks.append(Clock())
        return self._clocks[-1]

    def _make(self, name: str, arguments: list[str], env: Mapping[str, str]) -> Part:
        clock = self._clock()
        folder = self.folder / name
        folder.mkdir()
        own = {**env, "DATA_DIR": str(folder), **(clock.environment() if clock else {})}
        return Part(name, arguments, own, folder, clock)

    def _server(self, common: Mapping[str, str]) -> Part:
        port = free_port()
        part = self._make(
            "server",
            ["serve", "--port", str(port)],
            {**common, "TESTUM_ADDRESS": f"http://127.0.0.1:{port}"},
        )
        # Output has a disk of its own: that may be full, or only be read, while the database goes on.
        self.store(part).mkdir(mode=0o700)
        options = f"size={_STORE_MIB}m,mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(self.store(part))], check=True)
        return part

    @staticmethod
    def store(part: Part) -> Path:
        """Where one server keeps output."""
        return part.folder / "artifacts"

    def _part(self, name: str, common: Mapping[str, str], *, web: bool) -> Part:
        assert self.walls is not None
        s3_port = int(self.walls.s3.endpoint.partition(":")[2])
        targets = {"postgres": self.walls.postgres.port, "redis": self.walls.redis.port, "s3": s3_port}
        ways = {wall: self.proxies.add(port) for wall, port in targets.items()}
        env = dict(common)
        for setting, wall in (
            ("DATABASE_URL", "postgres"),
            ("REDIS_URL", "redis"),
            ("CELERY_BROKER_URL", "redis"),
            ("MINIO_ENDPOINT", "s3"),
        ):
            env[setting] = env[setting].replace(f":{targets[wall]}", f":{ways[wall].port}")
        port = free_port()
        env["TESTUM_ADDRESS"] = f"http://127.0.0.1:{port}"
        part = self._make(name, ["serve", "--port", str(port)] if web else ["worker"], env)
        part.ways = ways
        return part

    def start(self) -> None:
        """Start all, and add the platforms."""
        for part in self.parts:
            part.start()
        for web in self.webs:
            self.wait_healthy(web)
        api = Api(self.address(self.webs[0]))
        self.token = api.http.headers["Authorization"]
        for number in range(self.platforms):
            api.add_platform(
                f"p{number}", self.host, host=self.host.address(number % _ADDRESSES), tags=["fleet"]
            )
        api.http.close()

    @staticmethod
    def address(web: Part) -> str:
        return web.env["TESTUM_ADDRESS"]

    def wait_healthy(self, web: Part, seconds: float = _HEALTHY_SECONDS) -> None:
        """Wait for the process's answer."""

        def said() -> str:
            return f"{web.name} is not healthy:\n{web.log.read_text()[-2000:]}"

        def well() -> bool:
            assert web.running.popen.poll() is None, said()
            return healthy(self.address(web))

        until(well, seconds, otherwise=said)

    def request(self, method: str, path: str, *, seconds: float = 60, **options: Any) -> Any:
        """Ask any web process, again and again, until one answers; for requests that may be repeated."""
        said = ""

        def answer() -> tuple[Any] | None:
            nonlocal said
            for web in self.webs:
                status, body = self.try_request(web, method, path, **options)
                if status is not None and status < 400:
                    return (body,)
                said = f"{method} {path} at {web.name}: {status} {body}"
            return None

        found = until(answer, seconds, otherwise=lambda: said)
        assert found is not None
        return found[0]

    def try_request(self, web: Part, method: str, path: str, **options: Any) -> tuple[int | None, Any]:
        """Ask one web process once: the status (None: no answer) and the body."""
        try:
            answer = httpx2.request(
                method,
                f"{self.address(web)}/api/v1{path}",
                headers={"Authorization": self.token},
                timeout=10,
                **options,
            )
            return answer.status_code, answer.json()
        except (httpx2.HTTPError, json.JSONDecodeError) as error:
            return None, repr(error)

    def tasks(self, job_id: str) -> list[Any]:
        """All tasks of a job."""
        found: list[Any] = self.request("GET", "/tasks/", params={"job_id": job_id, "limit": 500})
        return found

    def api(self, web: Part) -> Api:
        """For `watch`: an Api without a login of its own."""
        api = Api.__new__(Api)
        api.url = self.address(web)
        api.http = httpx2.Client(
            base_url=f"{api.url}/api/v1", headers={"Authorization": self.token}, timeout=60
        )
        return api

    def logs(self) -> str:
        """The end of what each part has said."""
        return "\n".join(
            f"--- {part.name}\n{part.log.read_text(errors='replace')[-3000:]}"
            for part in self.parts
            if part.log.exists()
        )

    def close(self) -> None:
        """Leave nothing behind."""
        for part in self.parts:
            if part.process is not None:
                part.running.signal(signal.SIGCONT)
                part.running.kill()
        self.proxies.close()
        self.host.close()
        if self.walls is not None:
            for wall in (self.walls.s3, self.walls.redis, self.walls.postgres):
                wall.close()
        else:
            subprocess.run(["umount", "--lazy", str(self.store(self.parts[0]))], check=False)
        for clock in self._clocks:
            clock.close()
        shutil.rmtree(self.folder, ignore_errors=True)
