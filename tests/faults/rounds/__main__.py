"""See the package."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.rounds.fleet import Fleet
from tests.faults.rounds.kinds import KINDS, kind_of
from tests.faults.rounds.one import one_round
from tests.support.clock import missing as no_clock
from tests.support.server import missing as no_servers
from tests.support.waiting import pause

_MODES = ("embedded", "servers")


@dataclass(frozen=True)
class Batch:
    """Rounds that follow one another in one installation."""

    mode: str
    clocks: bool
    seeds: Sequence[int]


def batches(modes: Sequence[str], seeds: Sequence[int], kind: str | None, jobs: int) -> Iterator[Batch]:
    """All rounds of all modes, so that some can be done at once; those that take longer first."""
    for mode in reversed(modes):
        for clocks in (False, True):
            own = [seed for seed in seeds if ((kind or kind_of(seed)) == "clocks") == clocks]
            parts = 1 if clocks else jobs
            for number in range(parts):
                if part := own[number::parts]:
                    yield Batch(mode, clocks, part)


def main() -> int:
    """Run the rounds; 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rounds")
    parser.add_argument("--rounds", type=int, default=1, help="how many, in each mode")
    parser.add_argument("--seed", type=int, default=1, help="of the first; each next one has the next")
    parser.add_argument("--mode", choices=[*_MODES, "both"], default="both")
    parser.add_argument("--kind", choices=KINDS, help="all of this kind")
    parser.add_argument("--platforms", type=int, default=120)
    parser.add_argument("--jobs", type=int, default=1, help="so many installations at once")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Also where they were ignored (in the background): what was started must be ended.
        signal.signal(number, lambda *_: sys.exit(130))
    if given.inside:
        # The namespaces of its own.
        seeds = [int(seed) for seed in given.inside.split(",")]
        return inside(given.mode, seeds, given.kind, given.platforms)
    if reason := (None if given.mode == "embedded" else no_servers()) or no_clock():
        print(f"NOT RUN, the rounds of faults: {reason}.")
        return int(os.environ.get("TESTUM_TESTS") == "complete")
    modes = _MODES if given.mode == "both" else (given.mode,)
    seeds = range(given.seed, given.seed + given.rounds)
    return outside(list(batches(modes, seeds, given.kind, given.jobs)), given)


def outside(waiting: list[Batch], given: Any) -> int:
    """Have the batches done, some at once."""
    running: list[subprocess.Popen[bytes]] = []
    failed = False
    try:
        while waiting or running:
            while waiting and len(running) < given.jobs:
                running.append(_start(waiting.pop(0), given))
            for process in [process for process in running if process.poll() is not None]:
                running.remove(process)
                failed = failed or process.returncode != 0
            pause(0.2)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
    return int(failed)


def _start(batch: Batch, given: Any) -> subprocess.Popen[bytes]:
    # Loopback and mounts that nobody else has.
    command = ["unshare", "--net", "--mount", sys.executable, "-m", "tests.faults.rounds"]
    command += ["--inside", ",".join(map(str, batch.seeds)), "--mode", batch.mode]
    command += ["--platforms", str(given.platforms)]
    if given.kind:
        command += ["--kind", given.kind]
    return subprocess.Popen(command, start_new_session=True)


def inside(mode: str, seeds: Sequence[int], kind: str | None, platforms: int) -> int:
    """Do a batch. After a round that failed, the next has a new installation."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    fleet: Fleet | None = None
    failed = []
    try:
        for seed in seeds:
            begun = time.monotonic()
            own = kind or kind_of(seed)
            try:
                if fleet is None:
                    fleet = Fleet(mode, platforms, clocks=own == "clocks")
                    fleet.start()
                told = one_round(fleet, seed, own)
                print(f"{mode} {told} ({time.monotonic() - begun:.0f} s)", flush=True)
            except Exception as error:
                failed.append(seed)
                print(f"{mode} seed {seed} FAILED: {type(error).__name__}: {error}\nlogs:", flush=True)
                if fleet is not None:
                    print(fleet.logs(), flush=True)
                    fleet.close()
                    fleet = None
    finally:
        if fleet is not None:
            fleet.close()
    if failed:
        print(f"{mode} FAILED: seeds {failed}", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
