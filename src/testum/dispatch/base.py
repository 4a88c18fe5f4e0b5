"""The dispatch wall: tell workers that there is something to do.

A dispatched message is a hint too. Which tasks there are, and whose they are, the database says: a
message delivered twice does nothing twice, and one that got lost is sent again by the sweep.
"""

from typing import Protocol
from uuid import UUID


class Dispatcher(Protocol):
    """Sends jobs to whoever runs them."""

    async def submit(self, job_id: UUID) -> None:
        """The job has pending tasks. Call it after they are committed; calling it again is harmless."""

    async def cancel(self, job_id: UUID) -> None:
        """Someone cancelled the job (committed): whoever runs tasks of it should end them."""
