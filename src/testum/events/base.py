"""The events wall: hints that something was stored, so that readers need not poll.

An event carries no output and may get lost: what is stored is the truth, and readers look there.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class Change(StrEnum):
    """What changed: more output is stored, or a status was committed."""

    OUTPUT = "output"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Hint:
    """Something of a task (or, with task_id None, of the job itself) was stored."""

    job_id: UUID
    task_id: UUID | None
    change: Change


class Subscription(Protocol):
    """A reader's ear. Hints that came since the last `wait` are merged: it never holds more than one
    entry for each task, however slow its reader is."""

    async def wait(self, seconds: float) -> set[Hint]:
        """The hints since the last call; waits for one up to that many seconds, then returns none. It may return
        none earlier: hints may have been lost, and whoever waits looks by itself."""


class Events(Protocol):
    """Publish and subscribe."""

    def publish(self, hint: Hint) -> None:
        """Tell the subscribers of the task and of its job. Never blocks, never raises."""

    def subscribe(
        self, *, job_id: UUID | None = None, task_id: UUID | None = None
    ) -> AbstractAsyncContextManager[Subscription]:
        """Listen to a task, or to a job and all its tasks. Everything published after this returns is heard."""

    def subscribe_jobs(self) -> AbstractAsyncContextManager[Subscription]:
        """Listen to all jobs, but not to their tasks."""

    async def start(self) -> None:
        """Begin to carry events. Raises ConfigurationError where that cannot be."""

    async def check(self) -> None:
        """Raise StorageUnavailable where events are not carried now."""

    async def close(self) -> None:
        """Send what is waiting, and stop."""
