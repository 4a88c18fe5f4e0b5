"""One round."""

import random
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.faults.rounds import kinds
from tests.faults.rounds.checks import LINES, MUCH, check_ends, check_runs, check_shown
from tests.faults.rounds.fleet import LEASE_SECONDS, Fleet
from tests.faults.rounds.people import Requests, Watcher, Witness
from tests.support.sshd import RealSshd
from tests.support.waiting import pause, until
from testum.core.states import FINAL

_DONE_SECONDS = 120.0
"""For what a job has left to do when the fault is over, and for what is open then to be known, on two busy cores."""
_LONG = 12.0
"""So many seconds longer take some of the commands."""
_NOTICED = 30.0
"""A connection on which nothing came is broken after so many seconds, and so long it may take to be made again."""


@dataclass
class Told:
    """What a round came to."""

    seed: int
    fault: str
    ends: Counter[str] = field(default_factory=Counter)
    recovered: float = 0.0
    known: float = 0.0
    shown: int = 0
    acknowledged: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.fault}; {dict(self.ends)}; the last task it caught ended {self.recovered:.1f} s "
            f"after it, and nothing was open {self.known:.1f} s after it; {self.shown} messages shown, "
            f"{self.acknowledged} requests acknowledged, refused {dict(self.refused)}"
        )


def one_round(fleet: Fleet, seed: int, kind: str) -> Told:
    """See the package. Raises AssertionError."""
    chance = random.Random(seed)
    counter = fleet.host.user.home / f"counter-{seed}"
    length = chance.choice([0.2, 1.0, 3.0])
    command = (
        f"echo $TESTUM_TASK >> {counter}; case $TESTUM_TASK in *1) more=$(head -c {MUCH} /dev/zero | tr '\\0' x);; "
        f"esac; for i in $(seq {LINES}); do echo line $i of $TESTUM_TASK$more; sleep {length / LINES}; done; "
        f"case $TESTUM_TASK in *0) sleep {_LONG};; esac"
    )
    body = {
        "type": "run_command",
        "command": command,
        "concurrency": chance.choice([20, 60, 150]),
        "targets": {"tags": ["fleet"]},
        "timeout": 90,
    }
    job_id: str = fleet.request("POST", "/jobs/", json=body)["job_id"]
    watcher = Watcher(fleet, job_id, random.Random(seed + 1))
    requests = Requests(fleet, random.Random(seed + 2))
    witness = Witness(fleet, job_id, random.Random(seed + 3))
    try:
        share = chance.randrange(fleet.platforms * 3 // 4)
        until(
            lambda: sum(task["status"] in FINAL for task in fleet.tasks(job_id)) >= share,
            60,
            otherwise=lambda: "the job does not get anywhere before any fault",
        )
        fault = chance.choice(kinds.KINDS[kind](fleet, chance))
        cancelled = ", and the job is cancelled" if fault.cancel else ""
        told = Told(seed, f"{kind}: {fault.name} for {fault.seconds:.1f} s at {share}{cancelled}")
        print(f"{fleet.mode} seed {seed}: {told.fault} ...", flush=True)
        _make(fleet, fault, job_id)
        over = time.monotonic()
        for web in fleet.webs:
            fleet.wait_healthy(web)

        caught = {task["id"] for task in fleet.tasks(job_id) if task["status"] == "running"}

        def left() -> list[Any]:
            return [
                task for task in fleet.tasks(job_id) if task["id"] in caught and task["status"] not in FINAL
            ]

        def ended(job: str) -> bool:
            return fleet.request("GET", f"/jobs/{job}")["status"] not in ("pending", "running")

        most = 2 * LEASE_SECONDS + length + _LONG + (_NOTICED if kind == "cuts" else 0)
        until(
            lambda: not left(), over + most - time.monotonic(), otherwise=lambda: f"do not end: {left()[:1]}"
        )
        told.recovered = time.monotonic() - over
        deadline = over + _DONE_SECONDS
        until(
            lambda: ended(job_id),
            deadline - time.monotonic(),
            otherwise=lambda: f"job {job_id} does not end",
        )
        requests.end()
        for small in requests.jobs:
            until(
                lambda small=small: ended(small),
                deadline - time.monotonic(),
                otherwise=lambda small=small: f"an acknowledged job does not end: {small}",
            )
        told.acknowledged, told.refused = len(requests.jobs) + len(requests.platforms), requests.refused

        def open_() -> list[Any]:
            return [task for task in fleet.tasks(job_id) if task["may_still_run"]]

        def said_open() -> list[Any]:
            return [fleet.request("GET", f"/tasks/{task['id']}") for task in open_()[:2]]

        rest = deadline - time.monotonic()
        until(
            lambda: not open_(),
            rest,
            otherwise=lambda: f"is not known: {said_open()}; on the host:\n{told_of(fleet.host)}",
        )
        told.known = time.monotonic() - over
        for platform in requests.platforms:
            fleet.request("DELETE", f"/platforms/{platform}")
    finally:
        kinds.set_right(fleet)
        requests.end()
        shown, unsaid = watcher.end(), witness.end()
    told.shown = len(shown)
    tasks = {task["id"]: task for task in fleet.tasks(job_id)}
    assert len(tasks) == fleet.platforms
    told.ends = check_ends(kind, tasks)
    assert not unsaid, f"are over, and their processes live unsaid: {unsaid}"
    check_runs(counter, tasks)
    check_shown(fleet, job_id, shown, tasks)
    counter.unlink(missing_ok=True)
    return told


def _make(fleet: Fleet, fault: kinds.Fault, job_id: str) -> None:
    with fault.make():
        pause(fault.seconds / 2)
        if fault.cancel:
            # Whichever process answers; where none does, afterwards.
            status = None
            for web in fleet.webs:
                if status is None:
                    status, _ = fleet.try_request(web, "POST", f"/jobs/{job_id}/cancel")
        pause(fault.seconds / 2)
    if fault.cancel and status not in (202, 409):
        fleet.request("POST", f"/jobs/{job_id}/cancel")


def told_of(host: RealSshd) -> str:
    """The processes of the host's account: what may keep a task from being known."""
    pids = ",".join(map(str, host.user.processes()))
    asked = ["ps", "-ww", "-o", "pid,ppid,sid,etimes,stat,comm,args", "-p", pids or "0"]
    lines = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    return "\n".join(line[:300] for line in lines)
