"""How many tasks run at once: in a process, and in one job's loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from testum.ssh import Places

_GATHER_SECONDS = 0.02
"""The longest that a host's slot is left empty for others to be filled with it."""


class Slots:
    """How many tasks may run in this process at once, shared out among jobs first come, first served."""

    def __init__(self, number: int) -> None:
        self._places = Places(number)

    @property
    def taken_all(self) -> bool:
        """Whether none is free."""
        return self._places.full

    @asynccontextmanager
    async def take(self, most: int) -> AsyncIterator[list[object]]:
        """At least one slot, and up to `most` where that many are free. What is still in the list at the end of the block
        is given back; who takes a slot out of it gives it back himself."""
        slots = [object()]
        try:
            await self._places.wait(slots[0])
            while len(slots) < most and not self._places.full:
                slots.append(object())
                self._places.take(slots[-1])
            yield slots
        finally:
            for slot in slots:
                self._places.give(slot)

    def give(self, slot: object) -> None:
        """Give a slot back."""
        self._places.give(slot)


class UnderWay:
    """A job's tasks that are under way in one loop, each known by its slot, of which there may be `width`, and never more
    than `most`."""

    def __init__(self, width: int, most: int) -> None:
        self._width = min(width, most)
        self._most = most
        self._slots: set[object] = set()
        self._changed = asyncio.Event()
        self.claimed_all = asyncio.Event()
        """The loop claims no more."""

    def widen(self, by: int) -> None:
        """Let there be so many more."""
        self._width = min(self._width + by, self._most)
        self._changed.set()

    @property
    def free(self) -> int:
        """How many more there may be."""
        return self._width - len(self._slots)

    def add(self, slot: object) -> None:
        """Count a task until it is removed."""
        self._slots.add(slot)

    def remove(self, slot: object) -> None:
        """The task has ended on its host."""
        self._slots.discard(slot)
        self._changed.set()

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
        return not self._slots

    async def one_more(self) -> None:
        """Until one more has ended."""
        await self._until(self.free + 1)

    async def _until(self, free: float) -> None:
        while self.free < free:
            self._changed.clear()
            await self._changed.wait()
