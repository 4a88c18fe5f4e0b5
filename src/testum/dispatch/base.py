"""The dispatch wall: tell workers that there is something to do.

A dispatched message is a hint too. Which tasks there are, and whose they are, the database says: a
message delivered twice does nothing twice, and one that got lost is sent again by the sweep.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Work:
    """A job that has pending tasks: how many in each network zone, and how many may run at once."""

    job_id: UUID
    concurrency: int
    pending: Mapping[str, int]
    again: bool = False
    """Whether it was sent before, and may still be on its way."""


class Dispatcher(Protocol):
    """Sends jobs to whoever runs them."""

    async def submit(self, work: Work) -> None:
        """The job has pending tasks. Call it after they are committed; calling it again is harmless.

        Never raises: what could not be sent now, the sweep sends later.
        """

    async def ask(self, zone: str, question: str, seconds: float) -> str:
        """Have somebody who reaches the network zone answer a question now, and wait for it so long. A question that
        is not waited for any more is dropped.

        Raises TimeoutError, and StorageUnavailable where it cannot be sent.
        """

    async def check(self) -> None:
        """Raise StorageUnavailable where nothing can be sent now."""

    async def close(self) -> None:
        """Send no more."""
