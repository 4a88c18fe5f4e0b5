"""Positions: the numbers that put everything a job shows into one order.

A position is a time in microseconds since 1970 (UTC), made unique and strictly increasing within the
process (a hybrid clock: Kulkarni et al., "Logical Physical Clocks", 2014, reduced to one node). It is
thus also the time stamp of what bears it, and grows across restarts. Where the clock is set back, positions run on
from where they were, at the pace of a clock that nobody sets: how long things took stays true.
"""

import time
from collections.abc import Callable, Hashable


def _wall_microseconds() -> int:
    return time.time_ns() // 1000


def _steady_microseconds() -> int:
    return time.monotonic_ns() // 1000


class Sequencer:
    """Hands out positions and knows up to which of them everything is stored.

    What is stored takes time between getting its position and being readable. A reader that follows a
    scope (a job) in order may go only up to `watermark`: below it nothing can appear any more.
    Not thread-safe: it belongs to the event loop.
    """

    def __init__(
        self, wall: Callable[[], int] = _wall_microseconds, steady: Callable[[], int] = _steady_microseconds
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._time = 0
        self._read_at = steady()
        self._last = 0
        # Reserved position -> first of its row. Insertion order is position order: the first is the smallest.
        self._outstanding: dict[Hashable, dict[int, int]] = {}

    def _now(self) -> int:
        # The wall clock is read first: what comes between the two must not make time run ahead of it.
        wall, steady = self._wall(), self._steady()
        self._time = max(wall, self._time + steady - self._read_at)
        self._read_at = steady
        return self._time

    def go_on_after(self, position: int) -> None:
        """Whatever is reserved from now on comes after this position, which was given before this process began."""
        self._last = max(self._last, position)
        self._time = max(self._now(), position)

    def reserve(self, scope: Hashable, width: int = 1) -> int:
        """The next position, counted as not yet stored until `release`d. With a `width`, so many
        positions in a row, of which the last is returned."""
        self._last = max(self._last + width, self._now())
        self._outstanding.setdefault(scope, {})[self._last] = self._last - width + 1
        return self._last

    def release(self, scope: Hashable, position: int) -> None:
        """What bears `position` is stored, or will never be."""
        held = self._outstanding.get(scope)
        if held is None:
            return
        held.pop(position, None)
        if not held:
            del self._outstanding[scope]

    def watermark(self, scope: Hashable) -> int:
        """Everything of `scope` at or below this position is stored."""
        held = self._outstanding.get(scope)
        if held:
            return next(iter(held.values())) - 1
        # Nothing is under way: whatever comes next will be later than now.
        self._last = max(self._last, self._now())
        return self._last
