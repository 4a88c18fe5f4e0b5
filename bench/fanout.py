"""One command on 200 hosts: testum against asyncssh alone, parallel-ssh, clush and Ansible.

All talk to the same real sshd, which listens on every address of the loopback: this runs in a network
namespace of its own.
"""

import contextlib
import datetime as dt
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support.server import Api, Server
from tests.support.sshd import RealSshd, run

CONCURRENCY = 32
"""testum's default, and the bare loop's."""
_TAG = "bench"


@dataclass
class Times:
    """Seconds of each round, and of CPU time where it is known."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, rounds: Sequence[dict[str, float]]) -> None:
        """Take the rounds that a program printed."""
        self.wall += [each["wall"] for each in rounds]
        self.cpu += [each["cpu"] for each in rounds if "cpu" in each]

    @property
    def typical(self) -> float:
        """The median wall time."""
        return statistics.median(self.wall)


class Hosts:
    """200 addresses of one sshd, and a key that logs in."""

    def __init__(self, number: int) -> None:
        self.sshd = RealSshd(everywhere=True)
        self.addresses = [RealSshd.address(n) for n in range(number)]
        self.folder = Path(tempfile.mkdtemp(prefix="testum-bench-"))
        self.key = self.folder / "key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        self.sshd.add_key(self.key.with_suffix(".pub").read_text())
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.write_text(
            "".join(f"[{address}]:{self.sshd.port} {self.sshd.host_key_line}\n" for address in self.addresses)
        )

    def close(self) -> None:
        """Leave nothing behind."""
        self.sshd.close()
        shutil.rmtree(self.folder)

    def program(self, *command: str, env: dict[str, str] | None = None) -> str:
        """Run a program that reads the addresses; what it prints."""
        done = subprocess.run(
            command,
            input="\n".join(self.addresses),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **(env or {})},
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def timed(self, *command: str, env: dict[str, str] | None = None) -> list[dict[str, float]]:
        """A program's wall time from its start to its end."""
        begin = time.perf_counter()
        self.program(*command, env=env)
        return [{"wall": time.perf_counter() - begin}]

    def bare(self, *, warm: bool, rounds: int) -> list[dict[str, float]]:
        """The plain asyncssh loop."""
        options = ["--warm"] if warm else []
        printed = self.program(
            sys.executable,
            *("-m", "bench.bare", "--port", str(self.sshd.port), "--user", self.sshd.user.name),
            *("--key", str(self.key), "--concurrency", str(CONCURRENCY), "--rounds", str(rounds)),
            *options,
        )
        answer: list[dict[str, float]] = json.loads(printed)
        return answer

    def pssh(self, others: Path) -> list[dict[str, float]]:
        """parallel-ssh."""
        printed = self.program(
            str(others / "python"),
            "bench/parallel_ssh.py",
            str(self.sshd.port),
            self.sshd.user.name,
            str(self.key),
        )
        answer: list[dict[str, float]] = json.loads(printed)
        return answer

    def clush(self, others: Path) -> list[dict[str, float]]:
        """clush -f 20."""
        options = f"-i {self.key} -p {self.sshd.port} -o UserKnownHostsFile={self.known_hosts}"
        addresses = ",".join(self.addresses)
        return self.timed(
            str(others / "clush"),
            "-f",
            "20",
            "-l",
            self.sshd.user.name,
            "-o",
            options,
            "-w",
            addresses,
            "true",
        )

    @contextlib.contextmanager
    def ansible(self, others: Path) -> Iterator[Any]:
        """A function that runs `ansible -m raw -f 20`: the first time cold, then over the connections that
        Ansible's own settings keep open. They are closed at the end."""
        home = Path(tempfile.mkdtemp(prefix="an-", dir="/tmp"))  # short: it holds sockets
        inventory = home / "hosts"
        inventory.write_text("\n".join(self.addresses) + "\n")
        command = [
            *(str(others / "ansible"), "all", "-i", str(inventory), "-m", "raw", "-a", "true", "-f", "20"),
            *("-u", self.sshd.user.name, "--private-key", str(self.key)),
            *("-e", f"ansible_port={self.sshd.port}"),
            f"--ssh-common-args=-o UserKnownHostsFile={self.known_hosts}",
        ]
        try:
            yield lambda: self.timed(
                *command, env={"HOME": str(home), "ANSIBLE_HOME": str(home), "LC_ALL": "C.UTF-8"}
            )
        finally:
            masters = [
                process
                for process in psutil.process_iter(["cmdline"])
                if any(str(home) in part for part in process.info["cmdline"] or ())
            ]
            for process in masters:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            shutil.rmtree(home, ignore_errors=True)


def add_platforms(api: Api, hosts: Hosts) -> None:
    """One platform for each address, and first one more that wakes the server up."""
    public, private = hosts.key.with_suffix(".pub").read_text(), hosts.key.read_text()
    key = api.post("/keys/", {"name": "bench", "public_key": public, "private_key": private})
    values = {"auth_method": "private_key", "key_id": key["id"]}
    waker = api.add_platform("waker", hosts.sshd, **values)
    api.wait_job(api.start_job("true", targets={"platform_ids": [waker["id"]]}))
    for number, address in enumerate(hosts.addresses):
        api.add_platform(f"host-{number:03}", hosts.sshd, host=address, tags=[_TAG], **values)


def job(api: Api, number: int) -> float:
    """One job through the REST API, in seconds from the request to the moment the API gives for its end."""
    begin = time.time()
    job_id = api.start_job("true", targets={"tags": [_TAG]})
    while (answer := api.get(f"/jobs/{job_id}"))["status"] in ("pending", "running"):
        time.sleep(0.2)
    assert answer["counts"]["success"] == number, answer
    return dt.datetime.fromisoformat(answer["finished_at"]).timestamp() - begin


def measured_job(api: Api, process: psutil.Process, number: int) -> dict[str, float]:
    """One job, and the CPU time of the whole server, with that of being asked about the job five times a second."""
    before = process.cpu_times()
    wall = job(api, number)
    after = process.cpu_times()
    return {"wall": wall, "cpu": after.user + after.system - before.user - before.system}


def measure(others: Path, rounds: int, number: int, slow_rounds: int) -> list[tuple[str, float, str, bool]]:
    """Run all; each figure with its limit and whether it holds."""
    times = {
        name: Times()
        for name in ("cold", "warm", "bare", "bare warm", "pssh", "clush", "ansible", "ansible warm")
    }
    hosts = Hosts(number)
    try:
        for current in range(rounds):
            times["bare"].add(hosts.bare(warm=False, rounds=1))
            with Server(env={"TASK_CONCURRENCY": str(CONCURRENCY)}) as server:
                api = server.client()
                add_platforms(api, hosts)
                assert server.process is not None
                process = psutil.Process(server.process.pid)
                times["cold"].add([measured_job(api, process, number)])
                times["warm"].add([measured_job(api, process, number) for _ in range(5)])
            times["bare warm"].add(hosts.bare(warm=True, rounds=5))
            times["pssh"].add(hosts.pssh(others))
            if current < slow_rounds:
                times["clush"].add(hosts.clush(others))
                with hosts.ansible(others) as ansible:
                    times["ansible"].add(ansible())
                    times["ansible warm"].add(ansible())
    finally:
        hosts.close()
    show(times, number)
    return figures(times, number)


def show(times: dict[str, Times], number: int) -> None:
    """Print the table of times."""
    print(f"\n`true` on {number} hosts, seconds: median (all rounds)")
    for name, each in times.items():
        walls = " ".join(f"{wall:.2f}" for wall in each.wall)
        cpu = f"   CPU {1000 * statistics.median(each.cpu) / number:.1f} ms/task" if each.cpu else ""
        print(f"  {name:14} {each.typical:6.2f}  ({walls}){cpu}")


def figures(times: dict[str, Times], number: int) -> list[tuple[str, float, str, bool]]:
    """What is promised, from the medians of one run."""
    cold, warm = times["cold"], times["warm"]
    against_bare = statistics.median(
        mine / plain for mine, plain in zip(cold.wall, times["bare"].wall, strict=True)
    )
    cpu = 1000 * statistics.median(cold.cpu) / number
    results = [("cold: wall time of the bare loop, times", against_bare, "<= 1.25", against_bare <= 1.25)]
    for name, least in (("clush", 3.5), ("ansible", 4.0), ("pssh", 1.0)):
        ratio = times[name].typical / cold.typical
        results.append((f"cold: faster than {name}, times", ratio, f">= {least}", ratio >= least))
    results.append(("cold: CPU of the server, ms per task", cpu, "<= 8", cpu <= 8))
    rate = number / warm.typical
    results.append(("warm: tasks per second", rate, ">= 350", rate >= 350))
    ratio = times["ansible warm"].typical / warm.typical
    results.append(("warm: faster than ansible, times", ratio, ">= 10", ratio >= 10))
    share = times["bare warm"].typical / warm.typical
    results.append(("warm: the bare loop's rate, share", share, "", True))
    return results
