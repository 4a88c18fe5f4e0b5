"""Every claimed task ends and every slot is given back, whatever is raised or cancelled meanwhile."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from tests.support.application import Application
from tests.support.mishaps import Mishaps
from tests.support.sshd import RealSshd
from tests.support.tools import unique
from tests.support.waiting import until
from testum.execution import ledger, recorder, runner, slots
from testum.execution.actions import run

_GIVES_BACK = frozenset({"_begin", "_let_go", "_tell", "forget", "remove", "give", "_refused"})
"""Nothing in them waits or can fail."""
_SLOTS = 3


@pytest.fixture
def own() -> Iterator[Application]:
    """One that looks for abandoned tasks every second."""
    with Application(
        env={"LEASE_SECONDS": "3", "WORKER_CONCURRENCY": str(_SLOTS)}, mode="embedded"
    ) as running:
        yield running


def _on_loop(own: Application, mishaps: Mishaps, *, happening: bool) -> None:
    """Let mishaps happen, or cease, in the application's thread."""

    async def switch() -> None:
        mishaps.switch(happening=happening)

    assert own._loop is not None
    asyncio.run_coroutine_threadsafe(switch(), own._loop).result(10)


def _rounds(own: Application, sshd: RealSshd, seed: int, rounds: int) -> None:
    api = own.client()
    mark = unique("leak")
    for number in range(5):
        api.add_platform(f"{mark}-{number}", sshd, tags=[mark])
    targets = {"tags": [mark]}
    chance = random.Random(seed)
    mishaps = Mishaps(seed, runner, ledger, slots, recorder, run, closing=_GIVES_BACK, chance_in=150)
    _on_loop(own, mishaps, happening=True)
    started = []
    try:
        for _ in range(rounds):
            command = chance.choice(["true", "echo out; sleep 0.2", "sleep 60", "exit 3"])
            job = api.start_job(command, targets=targets, timeout=1, concurrency=chance.choice([1, 2, 9]))
            started.append(job)
            if chance.random() < 0.3:
                api.http.post(f"/jobs/{job}/cancel")
            if chance.random() < 0.5:
                until(lambda job=job: api.get(f"/jobs/{job}")["finished_at"], 120)  # type: ignore[misc]
        for job in started:
            until(
                lambda job=job: api.get(f"/jobs/{job}")["finished_at"],  # type: ignore[misc]
                120,
                otherwise=lambda job=job: (seed, api.get(f"/jobs/{job}"), mishaps.raised),  # type: ignore[misc]
            )
    finally:
        _on_loop(own, mishaps, happening=False)
    assert mishaps.raised > rounds / 2
    # All slots are there: so many run at once.
    job = api.start_job("sleep 60", targets=targets, concurrency=9)
    until(lambda: api.get(f"/jobs/{job}")["counts"]["running"] == _SLOTS)
    api.post(f"/jobs/{job}/cancel")
    assert api.wait_job(job)["counts"]["cancelled"] == 5


def test_mishaps_leave_no_task_running_and_no_slot_taken(own: Application, real_sshd: RealSshd) -> None:
    _rounds(own, real_sshd, 1, 8)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(100, 110))
def test_five_hundred_mishaps(own: Application, real_sshd: RealSshd, seed: int) -> None:
    _rounds(own, real_sshd, seed, 50)
