"""Who uses the installation while a fault is made, and what they were told."""

import json
import random
import secrets
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import WebSocketException

from tests.faults.rounds.fleet import Fleet
from tests.support.sshd import RealSshd
from tests.support.stream import watch
from testum.core.states import FINAL


class Watcher:
    """Somebody who watches the job, at one web process or the other, and notes what is shown."""

    def __init__(self, fleet: Fleet, job_id: str, chance: random.Random) -> None:
        self._fleet = fleet
        self._job_id = job_id
        self._chance = chance
        self.shown: list[Any] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        after: int | None = None
        while not self._over.is_set():
            api = self._fleet.api(self._chance.choice(self._fleet.webs))
            try:
                with watch(api, f"jobs/{self._job_id}", after, open_timeout=5) as watching:
                    while not self._over.is_set():
                        # A web process that was stopped, or cut, breaks no connection.
                        message = json.loads(watching.recv(timeout=10))
                        self.shown.append(message)
                        after = message["seq"]
                        if message["task_id"] is None and message["type"] == "done":
                            return
            except (OSError, WebSocketException, TimeoutError, EOFError):
                self._over.wait(0.3)
            finally:
                api.http.close()

    def end(self) -> list[Any]:
        """Watch no more; all that was shown."""
        self._over.set()
        self._thread.join(20)
        return self.shown


class Requests:
    """Somebody who goes on asking for things, and notes what was acknowledged."""

    def __init__(self, fleet: Fleet, chance: random.Random) -> None:
        self._fleet = fleet
        self._chance = chance
        self.platforms: list[str] = []
        self.jobs: list[str] = []
        self.refused: Counter[str] = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        target: Any = None
        while not self._over.wait(0.5):
            web = self._chance.choice(self._fleet.webs)
            name = f"r-{secrets.token_hex(6)}"
            values = {"name": name, "host": "127.0.0.1", "port": self._fleet.host.port, "auth_method": "password",
                      "username": self._fleet.host.user.name, "password": self._fleet.host.user.password}  # fmt: skip
            status, body = self._fleet.try_request(web, "POST", "/platforms/", json=values)
            if status == 201:
                self.platforms.append(body["id"])
                target = target or body["id"]
            else:
                self._refused(status, body)
            if target is not None and self._chance.random() < 0.3:
                job = {"type": "run_command", "command": "true", "targets": {"platform_ids": [target]}}
                status, body = self._fleet.try_request(web, "POST", "/jobs/", json=job)
                if status == 202:
                    self.jobs.append(body["job_id"])
                else:
                    self._refused(status, body)

    def _refused(self, status: int | None, body: Any) -> None:
        """An error is an answer, but it must be one that says so."""
        self.refused[f"{status} {body.get('code') if isinstance(body, dict) else ''}"] += 1

    def end(self) -> None:
        self._over.set()
        self._thread.join(40)


def alive(host: RealSshd) -> set[str]:
    """The tasks of which processes live on the host. What only says that a task never ran is none of them."""
    found = set()
    for pid in host.user.processes():
        with suppress(OSError):
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            env = dict(entry.partition(b"=")[::2] for entry in entries)
            if b"TESTUM_TASK" in env and b"TESTUM_NOT_RUN" not in env:
                found.add(env[b"TESTUM_TASK"].decode())
    return found


class Witness:
    """Somebody who compares the host's processes with what is said of the job's tasks."""

    _LOOKS = 3
    """A process may end a moment after its task."""

    def __init__(self, fleet: Fleet, job_id: str, chance: random.Random) -> None:
        self._fleet = fleet
        self._job_id = job_id
        self._chance = chance
        self._seen: Counter[str] = Counter()
        self.unsaid: dict[str, Any] = {}
        """Tasks that were over, and did not say that their processes lived."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(1.0):
            before = alive(self._fleet.host)
            web = self._chance.choice(self._fleet.webs)
            status, tasks = self._fleet.try_request(
                web, "GET", "/tasks/", params={"job_id": self._job_id, "limit": 500}
            )
            if status != 200:
                continue
            after = alive(self._fleet.host)
            silent = {
                task["id"]: task
                for task in tasks
                if task["status"] in FINAL
                and not task["may_still_run"]
                and task["id"] in before
                and task["id"] in after
            }
            self._seen = Counter({key: self._seen[key] + 1 for key in silent})
            self.unsaid |= {key: silent[key] for key in silent if self._seen[key] >= self._LOOKS}

    def end(self) -> dict[str, Any]:
        """Look no more; what was found."""
        self._over.set()
        self._thread.join(20)
        return self.unsaid
