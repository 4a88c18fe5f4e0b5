"""The faults, by kind. All are chosen by seed."""

import random
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil

from tests.faults.rounds.fleet import LEASE_SECONDS, Fleet, Part
from tests.support.proxy import Proxy
from tests.support.waiting import until

HOUR = 3600.0


@contextmanager
def killed(part: Part) -> Iterator[None]:
    """kill -9 of all its processes; its supervisor starts it again."""
    part.running.kill()
    yield
    part.start()


@contextmanager
def child_killed(part: Part) -> Iterator[None]:
    """kill -9 of a worker's working process alone; its main process makes another."""
    for child in part.running.group()[1:]:
        with suppress(Exception):
            child.kill()
    yield


@contextmanager
def parent_killed(part: Part) -> Iterator[None]:
    """kill -9 of a worker's main process: what works must end by itself."""
    orphans = part.running.group()[1:]
    part.running.popen.kill()
    part.running.popen.wait(10)
    yield
    until(
        lambda: not any(orphan.is_running() and orphan.status() != "zombie" for orphan in orphans),
        60,
        otherwise=lambda: "a worker's process outlives its main process",
    )
    part.start()


@contextmanager
def stopped(part: Part) -> Iterator[None]:
    """SIGSTOP: its connections stay, and it says nothing."""
    part.running.signal(signal.SIGSTOP)
    yield
    part.running.signal(signal.SIGCONT)


@contextmanager
def wall_away(leave: Callable[[], object], back: Callable[[], object]) -> Iterator[None]:
    leave()
    yield
    back()


@contextmanager
def cut(ports: Sequence[int]) -> Iterator[None]:
    """No packet goes either way, and nobody is told."""
    rules = "".join(
        f"add rule inet testum input tcp {end} {port} drop\n" for port in ports for end in ("dport", "sport")
    )
    table = "add table inet testum\nadd chain inet testum input { type filter hook input priority 0; }\n"
    subprocess.run(["nft", "-f", "-"], input=table + rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "testum"], check=True)


def ports(ways: Sequence[Proxy]) -> list[int]:
    return [way.port for way in ways]


@contextmanager
def slow(ways: list[Proxy]) -> Iterator[None]:
    for way in ways:
        way.delay = 0.3
    yield
    for way in ways:
        way.delay = 0.0


@contextmanager
def hosts_reset(fleet: Fleet) -> Iterator[None]:
    """All connections to the hosts break, and what comes next is lost for a while."""
    with cut([fleet.host.port]):
        fleet.host.cut()
        yield


@contextmanager
def store_full(fleet: Fleet, part: Part) -> Iterator[None]:
    """The disk of the output is full."""
    fill = fleet.store(part) / "fill"
    with suppress(OSError), fill.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    yield
    fill.unlink()


@contextmanager
def store_read_only(fleet: Fleet, part: Part) -> Iterator[None]:
    """No file of the output can be made or opened for writing; those that are open can be written."""
    folder = str(fleet.store(part))

    def closed() -> bool:
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        # Refused where a file was opened for writing since the line before.
        if subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=False).returncode == 0:
            return True
        subprocess.run(["umount", "--lazy", folder], check=True)
        return False

    until(closed)
    yield
    subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def limited(part: Part, resource: str, limit: Callable[[psutil.Process], int]) -> Iterator[None]:
    """The part's processes have less of a resource (prlimit(1))."""
    before: list[tuple[psutil.Process, str]] = []
    for process in part.running.group():
        with suppress(psutil.Error, subprocess.CalledProcessError):
            asked = [
                "prlimit",
                "--pid",
                str(process.pid),
                f"--{resource}",
                "--noheadings",
                "--raw",
                "-o",
                "SOFT",
            ]
            soft = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
            _set_limit(process, resource, str(limit(process)))
            before.append((process, soft))
    yield
    for process, soft in before:
        with suppress(psutil.Error, subprocess.CalledProcessError):
            _set_limit(process, resource, soft)


def _set_limit(process: psutil.Process, resource: str, soft: str) -> None:
    subprocess.run(["prlimit", "--pid", str(process.pid), f"--{resource}={soft}:"], check=True)


def few_files(process: psutil.Process) -> int:
    """Hardly more than it has open."""
    return process.num_fds() + 4


@contextmanager
def clocks_set(
    fleet: Fleet, parts: Sequence[Part], seconds: float, *, walls: bool, back: bool
) -> Iterator[None]:
    """The clocks of these parts, or PostgreSQL's, are set ahead (or back, where less than 0), and right again afterwards,
    or, if not `back`, only when the round is over."""
    clocks = [part.clock for part in parts]
    if walls:
        clocks.append(fleet.walls_clock)
    for clock in clocks:
        assert clock is not None
        clock.set(seconds)
    yield
    if back:
        set_right(fleet)


def set_right(fleet: Fleet) -> None:
    """All clocks are right."""
    for clock in (fleet.walls_clock, *(part.clock for part in fleet.parts)):
        if clock is not None:
            clock.set(0)


@contextmanager
def clock_set_at_kill(fleet: Fleet, part: Part, seconds: float) -> Iterator[None]:
    """A machine crashes and comes back with another time."""
    assert part.clock is not None
    with killed(part):
        part.clock.set(seconds)
        yield


@contextmanager
def killed_while_stopped(part: Part) -> Iterator[None]:
    """It is stopped, wakes, and is killed at once after that."""
    part.running.signal(signal.SIGSTOP)
    yield
    part.running.signal(signal.SIGCONT)
    part.running.kill()
    part.start()


@dataclass
class Fault:
    """What happens, for how many seconds. `cancel`: the job is cancelled meanwhile."""

    name: str
    seconds: float
    make: Callable[[], Any]
    cancel: bool = False


def _kills(fleet: Fleet, chance: random.Random) -> list[Fault]:
    worker, brief = chance.choice(fleet.workers), chance.uniform(0.1, 5)
    if fleet.walls is None:
        return [Fault("kill -9 the server", brief, lambda: killed(worker))]
    web, part = chance.choice(fleet.webs), chance.choice(fleet.parts)
    wall, long = chance.choice(["postgres", "redis", "s3"]), chance.uniform(1.1, 1.8) * LEASE_SECONDS
    redis, postgres, s3 = fleet.walls.redis, fleet.walls.postgres, fleet.walls.s3
    return [
        Fault(f"kill -9 {worker.name}", brief, lambda: killed(worker)),
        Fault(f"kill -9 the process of {worker.name}", brief, lambda: child_killed(worker)),
        Fault(f"kill -9 the main process of {worker.name}", brief, lambda: parent_killed(worker)),
        Fault(f"kill -9 {web.name}", brief, lambda: killed(web)),
        Fault(f"SIGSTOP {web.name}", long, lambda: stopped(web)),
        Fault("kill -9 redis", brief, lambda: wall_away(redis.kill, redis.start)),
        Fault("SIGSTOP redis", long, lambda: wall_away(redis.pause, redis.resume)),
        Fault("restart postgres", brief, lambda: wall_away(lambda: postgres.stop(immediate=True), postgres.start)),
        Fault("s3 away", 20, lambda: wall_away(s3.stop, s3.start)),
        Fault(f"cut {part.name} from {wall}", long, lambda: cut([part.ways[wall].port])),
        Fault(f"cut {worker.name} from all", long, lambda: cut(ports(list(worker.ways.values())))),
        Fault(f"cut everyone from {wall}", brief, lambda: cut([one.ways[wall].port for one in fleet.parts])),
        Fault("300 ms to all servers", 20, lambda: slow([way for one in fleet.parts for way in one.ways.values()])),
    ]  # fmt: skip


def _stores(fleet: Fleet, chance: random.Random) -> list[Fault]:
    worker = chance.choice(fleet.workers)
    seconds = chance.uniform(0.5, 8)
    short_of_files = Fault(
        f"few files for {worker.name}", seconds, lambda: limited(worker, "nofile", few_files)
    )
    if fleet.walls is None:
        return [
            Fault("the output's disk is full", seconds, lambda: store_full(fleet, worker)),
            Fault("the output's disk is read-only", seconds, lambda: store_read_only(fleet, worker)),
            Fault("no file may grow", seconds, lambda: limited(worker, "fsize", lambda process: 0)),
            short_of_files,
        ]
    postgres, s3, long = fleet.walls.postgres, fleet.walls.s3, chance.uniform(1.1, 1.8) * LEASE_SECONDS
    return [
        Fault(
            "postgres away", long, lambda: wall_away(lambda: postgres.stop(immediate=True), postgres.start)
        ),
        Fault("kill -9 postgres", seconds, lambda: wall_away(postgres.kill, postgres.start)),
        Fault("SIGSTOP postgres", long, lambda: wall_away(postgres.pause, postgres.resume)),
        Fault("s3 away", long, lambda: wall_away(s3.stop, s3.start)),
        Fault("SIGSTOP s3", long, lambda: wall_away(s3.pause, s3.resume)),
        short_of_files,
    ]


def _clocks(fleet: Fleet, chance: random.Random) -> list[Fault]:
    worker, seconds = chance.choice(fleet.workers), chance.uniform(0.5, 1.5) * LEASE_SECONDS
    # An S3 server refuses who is off by a quarter of an hour.
    most = HOUR if fleet.walls is None else 600.0
    step = chance.choice([-1, 1]) * chance.uniform(2 * LEASE_SECONDS, most)
    back = chance.random() < 0.5
    word = f"{step:+.0f} s{', and right again' if back else ''}"
    faults = [
        Fault(f"{worker.name}'s clock {word}", seconds, lambda: clocks_set(fleet, [worker], step, walls=False, back=back)),
        Fault(f"kill -9 {worker.name}, back with its clock {step:+.0f} s", 1.0, lambda: clock_set_at_kill(fleet, worker, step)),
    ]  # fmt: skip
    if fleet.walls is not None:
        all_of_it = f"everyone's clock {word}"
        faults += [
            Fault(
                f"postgres' clock {word}", seconds, lambda: clocks_set(fleet, [], step, walls=True, back=back)
            ),
            Fault(all_of_it, seconds, lambda: clocks_set(fleet, fleet.parts, step, walls=True, back=back)),
        ]
    return faults


def _cuts(fleet: Fleet, chance: random.Random) -> list[Fault]:
    seconds, cancel = chance.choice([chance.uniform(0.2, 3), chance.uniform(5, 25)]), chance.random() < 0.7
    return [
        Fault("cut from the hosts", seconds, lambda: cut([fleet.host.port]), cancel),
        Fault("connections to the hosts break", seconds, lambda: hosts_reset(fleet), cancel),
    ]


def _owners(fleet: Fleet, chance: random.Random) -> list[Fault]:
    worker, cancel = chance.choice(fleet.workers), chance.random() < 0.3
    brief, long = chance.uniform(0.1, 5), chance.uniform(1.5, 2.2) * LEASE_SECONDS
    return [
        Fault(f"SIGSTOP {worker.name}, short", brief, lambda: stopped(worker), cancel),
        Fault(f"SIGSTOP {worker.name}, long", long, lambda: stopped(worker), cancel),
        Fault(f"kill -9 {worker.name}", brief, lambda: killed(worker), cancel),
        Fault(
            f"SIGSTOP {worker.name}, kill -9 when it wakes",
            long,
            lambda: killed_while_stopped(worker),
            cancel,
        ),
    ]


KINDS: Mapping[str, Callable[[Fleet, random.Random], list[Fault]]] = {
    "kills": _kills,
    "stores": _stores,
    "clocks": _clocks,
    "cuts": _cuts,
    "owners": _owners,
}


def kind_of(seed: int) -> str:
    """What kind of fault the round with this seed makes."""
    return list(KINDS)[seed % len(KINDS)]
