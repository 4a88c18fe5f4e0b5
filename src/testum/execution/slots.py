"""How many tasks run at once: in a process, and in one job's loop."""

import asyncio
from contextlib import suppress

_GATHER_SECONDS = 0.02
"""The longest that a host's slot is left empty for others to be filled with it."""


class Slots:
    """How many tasks may run in this process at once, shared out among jobs first come, first served."""

    def __init__(self, number: int) -> None:
        self._free = asyncio.Semaphore(number)

    @property
    def taken_all(self) -> bool:
        """Whether none is free."""
        return self._free.locked()

    async def take(self, most: int) -> int:
        """At least one slot, and up to `most` where that many are free."""
        await self._free.acquire()
        taken = 1
        while taken < most and not self._free.locked():
            await self._free.acquire()
            taken += 1
        return taken

    def give(self, number: int) -> None:
        """Give slots back."""
        for _ in range(number):
            self._free.release()


class UnderWay:
    """A job's tasks that are under way in one loop, of which there may be `width`, and never more than `most`."""

    def __init__(self, width: int, most: int) -> None:
        self._width = min(width, most)
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self.claimed_all = asyncio.Event()
        """The loop claims no more."""

    def widen(self, by: int) -> None:
        """Let there be so many more."""
        self._width = min(self._width + by, self._most)
        self._ended.set()

    @property
    def free(self) -> int:
        """How many more there may be."""
        return self._width - len(self._tasks)

    def add(self, task: asyncio.Task[None]) -> None:
        """Count a task until it ends."""
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ended.set()

    async def room(self) -> None:
        """Until there is room. Tasks that end within a moment are replaced together, by one claim; but not
        more than a quarter of them, or the hosts would be idle while we write and we while they work."""
        await self._until(1)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_SECONDS):
                await self._until(self._width / 4)

    @property
    def idle(self) -> bool:
        """Whether none is under way."""
        return not self._tasks

    async def one_more(self) -> None:
        """Until one more has ended."""
        await self._until(self.free + 1)

    async def drain(self) -> None:
        """Until all have ended."""
        while self._tasks:
            await self.one_more()

    async def _until(self, free: float) -> None:
        while self.free < free:
            self._ended.clear()
            await self._ended.wait()
