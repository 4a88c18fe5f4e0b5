"""Dispatch within one process: a job is an asyncio task of the server's own loop."""

import asyncio
from collections.abc import Callable, Coroutine
from uuid import UUID

from testum.dispatch.base import Work
from testum.dispatch.loops import Loops


class LocalDispatcher:
    """See Dispatcher. `run` runs a job's pending tasks to their end; `answer` answers a question."""

    def __init__(
        self,
        run: Callable[[UUID], Coroutine[None, None, None]],
        answer: Callable[[str], Coroutine[None, None, str]],
    ) -> None:
        self._loops = Loops(run)
        self._answer = answer

    async def submit(self, work: Work) -> None:
        """See Dispatcher.submit."""
        self._loops.submit(work.job_id)

    async def ask(self, zone: str, question: str, seconds: float) -> str:
        """See Dispatcher.ask. This process reaches every zone; a question is ended with whoever asks it."""
        async with asyncio.timeout(seconds):
            return await self._answer(question)

    async def check(self) -> None:
        """See Dispatcher.check. This process is at hand."""

    async def close(self) -> None:
        """See Dispatcher.close. It waits for the loops of the jobs there are; their tasks were ended before."""
        await self._loops.close()
