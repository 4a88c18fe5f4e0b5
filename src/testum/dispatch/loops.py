"""Loops that run once at a time: what both dispatchers do with work that was brought to them."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Generic, TypeVar

import structlog

from testum.errors import StorageUnavailable

log = structlog.get_logger(__name__)

Key = TypeVar("Key", bound=Hashable)


class Loops(Generic[Key]):
    """Runs `run(key)` for each key that is submitted, once at a time, and once more for what was submitted
    meanwhile: its loop may have been about to end."""

    def __init__(self, run: Callable[[Key], Coroutine[None, None, None]]) -> None:
        self._run = run
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._again: set[Key] = set()
        self._closed = False

    def submit(self, key: Key) -> None:
        """Run it soon."""
        if self._closed:
            return
        if key in self._tasks:
            self._again.add(key)
            return
        task = asyncio.create_task(self._run(key), name=f"loop-{key}")
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        del self._tasks[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            known = isinstance(error, StorageUnavailable)
            # The sweep sends the job again.
            log.error("a job's loop failed", of=str(key), error=str(error), exc_info=None if known else error)
        if key in self._again:
            self._again.discard(key)
            self.submit(key)

    async def close(self) -> None:
        """Take no more, and wait for the loops there are; what they do was ended before."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))
