"""The server was told to stop: what it waits for, and for how long, said on its terminal."""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from typing import Protocol
from uuid import UUID

_LOOK_SECONDS = 5.0
"""What has changed is said as often as this at most."""
_REPEAT_SECONDS = 15.0
"""What has not changed is said as often as this."""
_JOBS_NAMED = 5


class Work(Protocol):
    """What the application does on hosts; its lifespan has it under the name `work`."""

    drain_seconds: float
    """How long it may go on once the server was told to stop."""

    def retire(self) -> None:
        """Begin nothing more, and refuse what is new."""

    def under_way(self) -> Counter[UUID]:
        """How many tasks of which jobs are not at their end."""

    async def idle(self) -> None:
        """Until nothing is under way."""


async def drain(work: Work) -> None:
    """Let what is under way come to its end, for the drain time at most. Cancelled where it is to end now."""
    work.retire()
    idle = asyncio.ensure_future(work.idle())
    until = time.monotonic() + work.drain_seconds
    # What is not worth a word is over at once.
    await asyncio.wait({idle}, timeout=min(0.05, work.drain_seconds))
    told: Counter[UUID] | None = None
    told_at = 0.0
    try:
        while not idle.done() and (left := until - time.monotonic()) > 0:
            jobs = work.under_way()
            if told is None and jobs:
                _say(
                    f"Stopping. {_tasks(jobs)} under way; testum waits for at most {left:.0f} seconds. "
                    "Ctrl-C again ends what is left now."
                )
                told, told_at = jobs, time.monotonic()
            elif jobs and (jobs != told or time.monotonic() - told_at >= _REPEAT_SECONDS):
                _say(f"{_tasks(jobs)} still under way; at most {left:.0f} seconds more.")
                told, told_at = jobs, time.monotonic()
            await asyncio.wait({idle}, timeout=min(_LOOK_SECONDS, left))
        if jobs := work.under_way():
            _say(f"The time is over: {_tasks(jobs)} ended on the hosts now.")
        elif told is not None:
            _say("All that was under way has ended.")
    finally:
        idle.cancel()


def ending(work: Work) -> None:
    """Say what is ended before its time."""
    if jobs := work.under_way():
        _say(f"{_tasks(jobs)} ended on the hosts now.")


def _tasks(jobs: Counter[UUID]) -> str:
    """So many tasks of which jobs, and the verb."""
    number = jobs.total()
    named = ", ".join(f"{job} ({count})" for job, count in jobs.most_common(_JOBS_NAMED))
    more = f" and {len(jobs) - _JOBS_NAMED} more" if len(jobs) > _JOBS_NAMED else ""
    noun = "1 task" if number == 1 else f"{number} tasks"
    return f"{noun} of {'job' if len(jobs) == 1 else 'jobs'} {named}{more} {'is' if number == 1 else 'are'}"


def _say(sentence: str) -> None:
    # Who closed the terminal reads nothing more; the rest goes on.
    with suppress(OSError):
        print(sentence, flush=True)
