"""What a server that does the work itself goes through when it is told to stop."""

import asyncio
from collections import Counter
from contextlib import suppress
from uuid import UUID

from testum.errors import StorageUnavailable
from testum.execution.runner import Runner
from testum.services.intake import Intake
from testum.services.streams import Streams

_TELL_SECONDS = 3.0
"""Who follows what has ended hears of it within moments, unless nobody reads there."""


class Work:
    """The work of this process, for whoever waits for its end. What is pending stays so for the next start."""

    def __init__(self, runner: Runner, intake: Intake, streams: Streams, drain_seconds: float) -> None:
        self._runner = runner
        self._intake = intake
        self._streams = streams
        self.drain_seconds = drain_seconds
        """How long what is under way may go on once the server was told to stop."""

    def retire(self) -> None:
        """Begin nothing more, and refuse what is new."""
        self._intake.close()
        self._runner.retire()

    def under_way(self) -> Counter[UUID]:
        """How many tasks of each job are not at their end."""
        return self._runner.under_way

    async def idle(self) -> None:
        """Until nothing is under way, all results are written, and who follows has heard of them."""
        await self._runner.idle()
        with suppress(TimeoutError, StorageUnavailable):
            async with asyncio.timeout(_TELL_SECONDS):
                await self._streams.ends_told()
