"""Places, first come, first served, of which none can be lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Places:
    """So many places. Whoever wants one is any object; what it has, or waits for, it gives back with `give`, in whatever
    state it was cut off: always call that. Belongs to one event loop."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._taken: set[object] = set()
        self._waiting: dict[object, asyncio.Future[None]] = {}

    @property
    def wanted(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether none is free."""
        return bool(self._waiting) or len(self._taken) >= self._number

    @property
    def unused(self) -> bool:
        """Whether nobody has a place or waits for one."""
        return not self._taken and not self._waiting

    def holds(self, who: object) -> bool:
        """Whether it has a place."""
        return who in self._taken

    def take(self, who: object) -> bool:
        """A place, if one is free."""
        if not self.full:
            self._taken.add(who)
        return self.holds(who)

    async def wait(self, who: object) -> None:
        """Until it has a place."""
        if not self.take(who):
            await self._queue(who)

    def _queue(self, who: object) -> asyncio.Future[None]:
        place = self._waiting[who] = asyncio.get_running_loop().create_future()
        return place

    def give(self, who: object) -> None:
        """Give back what it has: a place, or the wait for one. Whoever is next has the place at once, also while it is
        being cancelled: it then gives it to the next."""
        self._waiting.pop(who, None)
        self._taken.discard(who)
        while self._waiting and len(self._taken) < self._number:
            following = next(iter(self._waiting))
            place = self._waiting.pop(following)
            self._taken.add(following)
            if not place.done():
                place.set_result(None)


class Turns:
    """One at a time for each key."""

    def __init__(self) -> None:
        self._places: dict[str, Places] = {}

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """A turn, when those before have ended."""
        who = object()
        places = self._places.setdefault(key, Places(1))
        try:
            await places.wait(who)
            yield
        finally:
            places.give(who)
            if places.unused:
                self._places.pop(key, None)
