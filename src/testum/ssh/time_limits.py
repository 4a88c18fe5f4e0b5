"""Time limits on what a host does, which do not count the time in which this process did not run.

A process that was stopped, or whose machine slept, finds on waking that every limit has passed; the answers that came
meanwhile wait to be read, and what the host was about to answer takes some more steps.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

_STALLED_SECONDS = 1.0
"""A timer that comes later than this says that the process did not run."""
_STEP_SECONDS = 1.0


class TimeLimit:
    """Like asyncio.timeout: `async with TimeLimit(seconds) as clock`, which raises TimeoutError."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._limit = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "TimeLimit":
        await self._limit.__aenter__()
        self._wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._timer is not None
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is waited for within this block is not the host's to hasten: its time does not count."""
        assert self._timer is not None
        self._timer.cancel()
        try:
            yield
        finally:
            self._wait()

    def expired(self) -> bool:
        """Whether the limit ended the block."""
        return self._limit.expired()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        step = min(self._left, _STEP_SECONDS)
        self._timer = loop.call_later(step, self._count, loop.time() + step, step)

    def _count(self, due: float, step: float) -> None:
        loop = asyncio.get_running_loop()
        late = loop.time() - due
        self._left -= step + min(late, step)
        if late > _STALLED_SECONDS:
            # At least one step more, in which what has come can be read.
            self._left = max(self._left, step)
        if self._left > 0:
            self._wait()
        else:
            self._limit.reschedule(loop.time())
