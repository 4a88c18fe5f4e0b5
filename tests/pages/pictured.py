"""An installation to take pictures of: the real server with the demo's hosts, after a day of plausible work.

The demo's hosts run on this machine. What they would tell of it is replaced: some of their programs by others that
say the same wherever the pictures are taken, their addresses and facts in the database.
"""

import datetime as dt
import json
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2

from tests.support.server import ADMIN, Api, Process
from tests.support.sshd import free_port
from tests.support.waiting import until

HOSTS = {
    "web-01": "10.20.0.11",
    "web-02": "10.20.0.12",
    "web-03": "10.20.0.13",
    "db-01": "10.20.0.21",
    "cache-01": "10.20.0.31",
    "build-01": "10.20.0.41",
}
RUNNING_COMMAND = "sudo apt-get -qq upgrade"
ALIKE_COMMAND = "apt list --upgradable"
LONG_COMMAND = "./release.sh --verbose"
CHECK_COMMAND = "systemctl is-active nginx"
OTHER_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2"
FAILING_HOUR = 5
HOURS = (3, 2, 1, 1, 2, 2, 4, 3, 5, 6, 4, 3, 5, 4, 6, 5, 3, 4, 6, 5, 4, 3, 2)
"""How many jobs there were in each hour before the present one, the earliest first."""

_APT = """Listing...
curl/stable-security 7.88.1-10+deb12u8 amd64 [upgradable from: 7.88.1-10+deb12u7]
libssl3/stable-security 3.0.15-1~deb12u1 amd64 [upgradable from: 3.0.14-1~deb12u2]
nginx/stable-security 1.22.1-9+deb12u1 amd64 [upgradable from: 1.22.1-9]
openssl/stable-security 3.0.15-1~deb12u1 amd64 [upgradable from: 3.0.14-1~deb12u2]
"""
_TOOLS = {
    "apt": "cat <<'END'\n{apt}END\n",
    "systemctl": "case $(hostname) in web-03) echo failed; exit 3;; *) echo active;; esac\n",
    "uptime": "echo ' 09:41:02 up 41 days,  3:17,  1 user,  load average: 0.08, 0.12, 0.09'\n",
    "df": "printf '/dev/sda1       40G   17G   22G  44%% /\\n'\n",
    "sudo": (
        "case $(hostname) in web-01|cache-01) echo 'Setting up nginx ...'; exit;; esac\n"
        'for package in libssl3 openssl curl nginx; do echo "Unpacking $package ..."; done\nexec sleep 3600\n'
    ),
}
_RELEASE = r"""#!/bin/sh
printf '\033[1mReleasing app 2.14.0 on %s\033[0m\n' "$(hostname)"
for step in 'fetch sources' 'verify signature' 'install dependencies' 'compile assets' 'run migrations' 'warm up caches'; do
  printf '\033[36m==>\033[0m %s\n' "step: $step"
  for n in 1 2 3 4 5 6; do printf '    %s, part %s of 6 \033[32mok\033[0m\n' "$step" $n; done
done
echo 'config: option "pool_size" is deprecated, use "pool.size"' >&2
printf '\033[32;1mdone\033[0m in 12.4 s, 0 errors, 1 warning\n'
"""
_FACTS = {
    "os": "Debian GNU/Linux 12 (bookworm)", "os_id": "debian", "os_version": "12", "kernel": "Linux",
    "kernel_release": "6.1.0-28-amd64", "architecture": "x86_64", "cpus": 4, "memory_total_kib": 8_141_000,
    "memory_available_kib": 5_302_000, "disk_total_kib": 41_022_000, "disk_free_kib": 22_917_000,
    "uptime_seconds": 3_554_220, "load_1m": 0.08,
}  # fmt: skip


class Pictured:
    """The server; while it is entered, `url` leads to it, and `ids` has what pages are about."""

    def __init__(self, data: Path) -> None:
        self._data = data
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.ids: dict[str, str] = {}
        env = {**os.environ, "DATA_DIR": str(data), "ADMIN_USERNAME": ADMIN[0], "ADMIN_PASSWORD": ADMIN[1]}
        self._server = Process(["demo", "--port", str(port)], env, data, data / "log", forked=False)

    def __enter__(self) -> "Pictured":
        try:
            self._wait()
            self._prepare_hosts()
            self._work(Api(self.url))
        except BaseException:
            self._server.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    def _wait(self) -> None:
        def answers() -> bool:
            with suppress(httpx2.HTTPError):
                return httpx2.get(f"{self.url}/health", timeout=2).status_code == 200
            return False

        try:
            until(answers)
        except AssertionError:
            raise RuntimeError(f"the server did not start:\n{(self._data / 'log').read_text()}") from None

    def _prepare_hosts(self) -> None:
        for name in HOSTS:
            home = self._data / "demo" / name
            lines = _APT.splitlines(keepends=True)
            apt = {"build-01": "".join(lines[:-1]), "web-03": lines[0]}.get(name, _APT)
            for tool, text in _TOOLS.items():
                _program(home / ".demo" / tool, f"#!/bin/sh\n{text.replace('{apt}', apt)}")
            _program(home / "release.sh", _RELEASE)

    def _work(self, api: Api) -> None:
        refusing = api.post(
            "/platforms/",
            {
                "name": "mail-01", "host": "127.0.0.1", "port": 1, "username": "deploy", "auth_method": "password",
                "password": "x", "tags": ["mail", "prod"], "description": "Postfix; behind the office firewall.",
            },
        )  # fmt: skip
        key = api.post(
            "/keys/",
            {
                "name": "alice@laptop",
                "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2 alice@laptop",
            },
        )
        platforms = {platform["name"]: platform["id"] for platform in api.all("/platforms/")}
        begun = [
            self._run(api, type="gather_facts"),
            self._run(api, type="deploy", targets={"tags": ["web"]}),
        ]
        for hour, number in enumerate(HOURS):
            for turn in range(number):
                failing = hour % FAILING_HOUR == 2 and turn == 0
                command = ("uptime", "df -h / | tail -1")[turn % 2] if not failing else CHECK_COMMAND
                begun.append(
                    self._run(api, command=command, targets={"tags": ["web" if turn % 3 else "demo"]})
                )
        times = [hour for hour, number in enumerate(HOURS) for _ in range(number)]
        tested = self._run(api, type="test_connection", targets={"names": ["web-01"]})
        untested = self._run(api, type="test_connection", targets={"names": ["mail-01"]})
        silent = self._run(api, command="true", targets={"names": ["web-02"]})
        long = self._run(api, command=LONG_COMMAND, targets={"names": ["web-01"]})
        fine = self._run(api, command="uptime", targets={"tags": ["demo"]})
        alike = self._run(api, command=ALIKE_COMMAND, targets={"tags": ["demo"]})
        job = self._run(api, command=CHECK_COMMAND, targets={"all": True})
        api.ok(api.http.patch(f"/platforms/{platforms['db-01']}", json={"known_host_key": OTHER_HOST_KEY}))
        running = api.start_job(RUNNING_COMMAND, targets={"tags": ["demo"]})
        until(lambda: api.get(f"/jobs/{running}")["counts"]["running"] == 3)
        cancelled = api.start_job(RUNNING_COMMAND, targets={"names": ["web-02"]})
        until(lambda: api.get(f"/jobs/{cancelled}")["counts"]["running"] == 1)
        api.post(f"/jobs/{cancelled}/cancel")
        api.wait_job(cancelled)
        self.ids = {
            "platform": platforms["web-01"], "changed": platforms["db-01"], "refusing": refusing["id"], "job": job,
            "task": api.tasks(job)[0]["id"], "key": key["id"], "tested": api.tasks(tested)[0]["id"],
            "untested": api.tasks(untested)[0]["id"], "silent": api.tasks(silent)[0]["id"],
            "long": api.tasks(long)[0]["id"], "fine": fine, "alike": alike, "running": running, "cancelled": cancelled,
            "ended": api.tasks(cancelled)[0]["id"],
            "unended": next(task["id"] for task in api.tasks(running) if task["status"] == "running"),
        }  # fmt: skip
        self._disguise(dict(zip(begun, [0, 0, *times], strict=True)))

    def _run(self, api: Api, **values: Any) -> str:
        job = api.start_job(**values)
        api.wait_job(job)
        return job

    def _disguise(self, hour_of: dict[str, int]) -> None:
        """Put jobs into their hours, and plausible addresses and facts in the place of this machine's."""
        database = sqlite3.connect(self._data / "testum.db", timeout=30)
        with database:
            for job, hour in hour_of.items():
                shift = dt.timedelta(hours=len(HOURS) - hour)
                for table, column in (("jobs", "id"), ("task_runs", "job_id")):
                    found = database.execute(
                        f"SELECT id, created_at, started_at, finished_at FROM {table} WHERE {column} = ?",
                        [job.replace("-", "")],
                    ).fetchall()
                    for row in found:
                        database.execute(
                            f"UPDATE {table} SET created_at = ?, started_at = ?, finished_at = ? WHERE id = ?",
                            [*(_earlier(moment, shift) for moment in row[1:]), row[0]],
                        )
            for name, address in {**HOSTS, "mail-01": "10.20.0.51"}.items():
                database.execute(
                    "UPDATE platforms SET host = ?, port = 22, username = 'deploy', description = '' WHERE name = ?",
                    [address, name],
                )
                if name in HOSTS:
                    facts = json.dumps({**_FACTS, "hostname": name})
                    database.execute("UPDATE platforms SET facts = ? WHERE name = ?", [facts, name])
        database.close()


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o700)


def _earlier(moment: str | None, shift: dt.timedelta) -> str | None:
    if moment is None:
        return None
    return (dt.datetime.fromisoformat(moment) - shift).strftime("%Y-%m-%d %H:%M:%S.%f")
