"""Events within one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

from testum.events.base import Hint

_JOBS = UUID(int=0)
"""The topic of what concerns jobs themselves."""


class MemorySubscription:
    """See Subscription."""

    def __init__(self) -> None:
        self._heard: set[Hint] = set()
        self._wake = asyncio.Event()

    def hear(self, hint: Hint) -> None:
        """Take a hint in."""
        self._heard.add(hint)
        self._wake.set()

    def wake(self) -> None:
        """End the wait, with what was heard so far."""
        self._wake.set()

    async def wait(self, seconds: float) -> set[Hint]:
        """See Subscription.wait."""
        if not self._wake.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return set()
        heard, self._heard = self._heard, set()
        self._wake.clear()
        return heard


class MemoryEvents:
    """See Events."""

    def __init__(self) -> None:
        self._listeners: dict[UUID, set[MemorySubscription]] = {}

    def publish(self, hint: Hint) -> None:
        """See Events.publish."""
        for topic in (hint.job_id, hint.task_id or _JOBS):
            for listener in self._listeners.get(topic, ()):
                listener.hear(hint)

    def subscribe(
        self, *, job_id: UUID | None = None, task_id: UUID | None = None
    ) -> AbstractAsyncContextManager[MemorySubscription]:
        """See Events.subscribe."""
        topic = job_id or task_id
        assert topic is not None
        return self._listen(topic)

    def subscribe_jobs(self) -> AbstractAsyncContextManager[MemorySubscription]:
        """See Events.subscribe_jobs."""
        return self._listen(_JOBS)

    def wake_all(self) -> None:
        """Let all subscribers look by themselves: hints may have been lost."""
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.wake()

    async def start(self) -> None:
        """See Events.start."""

    async def check(self) -> None:
        """See Events.check."""

    async def close(self) -> None:
        """See Events.close."""

    @asynccontextmanager
    async def _listen(self, topic: UUID) -> AsyncIterator[MemorySubscription]:
        subscription = MemorySubscription()
        self._listeners.setdefault(topic, set()).add(subscription)
        try:
            yield subscription
        finally:
            listeners = self._listeners[topic]
            listeners.discard(subscription)
            if not listeners:
                del self._listeners[topic]
