"""The watch of a process: it says that its worker lives, hears of cancellations, and does its share of the
periodic duties; for ever, whatever fails meanwhile."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from testum.db import duties, jobs
from testum.db.session import Database
from testum.errors import StorageUnavailable
from testum.events.base import Events
from testum.execution.ledger import Ledger
from testum.execution.runner import Runner

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 1.0
_CANCEL_POLL_SECONDS = 2.0
"""How long a cancellation stays unheard of where its event got lost."""
_TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Duty:
    """Something that one of all processes does every `seconds`. It may be done twice: its doer may die."""

    name: str
    seconds: float
    do: Callable[[], Awaitable[None]]


class Watch:
    """Runs from `start` to `close`. `alone`: there is no other process to share the duties with."""

    def __init__(self, database: Database, own_duties: Sequence[Duty], *, alone: bool) -> None:
        self._database = database
        self._duties = own_duties
        self._alone = alone
        self._loops: list[asyncio.Task[None]] = []
        self._due = {duty.name: time.monotonic() + duty.seconds for duty in own_duties}

    def start(self) -> None:
        """Begin with the duties."""
        self.keep("duties", self._attend, _TICK_SECONDS)

    def over_worker(self, runner: Runner, ledger: Ledger, events: Events, lease_seconds: float) -> None:
        """Look after a worker of this process, too: renew its leases, and end what is cancelled."""

        async def renew() -> None:
            await runner.lose(await ledger.renew())

        async def hear() -> None:
            async with events.subscribe_jobs() as heard:
                looked = time.monotonic()
                while True:
                    hints = await heard.wait(_CANCEL_POLL_SECONDS)
                    asked = runner.running_jobs
                    if hints and time.monotonic() - looked < _CANCEL_POLL_SECONDS:
                        asked &= {hint.job_id for hint in hints}
                    else:
                        looked = time.monotonic()
                    if asked:
                        async with self._database.read() as session:
                            for job_id in await jobs.cancel_requested(session, list(asked)):
                                await runner.stop_job(job_id)

        self.keep("leases", renew, lease_seconds / 3)
        # From the beginning: who cancels in a worker's first second would wait for the next look.
        self.keep("cancellations", hear, _RETRY_SECONDS, first=0.0)

    async def close(self) -> None:
        """End it."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    def keep(
        self, name: str, step: Callable[[], Awaitable[None]], seconds: float, *, first: float | None = None
    ) -> None:
        """Do something every so many seconds in this process; the first time after `first`, where it is given."""
        wait = seconds if first is None else first
        self._loops.append(asyncio.create_task(self._repeat(name, step, seconds, wait), name=f"watch-{name}"))

    async def _repeat(
        self, name: str, step: Callable[[], Awaitable[None]], seconds: float, wait: float
    ) -> None:
        failing = False
        while True:
            await asyncio.sleep(wait)
            wait = seconds
            try:
                await step()
                failing = False
            except Exception as error:
                # A database that is away for a while must not end the watch, nor fill the log.
                if not failing:
                    known = isinstance(error, StorageUnavailable)
                    log.error(
                        "the watch failed; it goes on",
                        of=name,
                        error=str(error),
                        exc_info=None if known else error,
                    )
                failing = True
                wait = min(_RETRY_SECONDS, seconds)

    async def _attend(self) -> None:
        now = time.monotonic()
        for duty in await self._due_now(now):
            self._due[duty.name] = now + duty.seconds
            if not self._alone:
                async with self._database.write() as session:
                    if not await duties.claim(session, duty.name, duty.seconds):
                        continue
            await duty.do()

    async def _due_now(self, now: float) -> list[Duty]:
        if self._alone:
            return [duty for duty in self._duties if self._due[duty.name] <= now]
        async with self._database.read() as session:
            waiting = await duties.not_due(session, {duty.name: duty.seconds for duty in self._duties})
        return [duty for duty in self._duties if duty.name not in waiting]
