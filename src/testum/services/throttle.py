"""Counting attempts, so that passwords cannot be guessed: over all web processes, where they share a Redis."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError

from testum.db.base import utc_now
from testum.errors import Throttled

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Throttle:
    """Moving windows of attempts. While the shared storage is away, each process counts for itself: nobody is kept
    from logging in, and nobody guesses freely."""

    def __init__(self, shared: Storage | None) -> None:
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._shared = MovingWindowRateLimiter(shared) if shared is not None else None

    async def hit(self, limit: RateLimitItem, kind: str, key: str) -> bool:
        """Count an attempt; whether it is within the limit."""
        return await self._ask(lambda limiter: limiter.hit(limit, kind, key))

    async def test(self, limit: RateLimitItem, kind: str, key: str) -> bool:
        """Whether another attempt would be within the limit."""
        return await self._ask(lambda limiter: limiter.test(limit, kind, key))

    async def refusal(self, limit: RateLimitItem, kind: str, key: str) -> Throttled:
        """What is told to who is above the limit: in how many seconds the next attempt is within it."""
        reset, _ = await self._ask(lambda limiter: limiter.get_window_stats(limit, kind, key))
        seconds = max(1, int(reset - utc_now().timestamp()) + 1)
        return Throttled(f"Too many attempts to log in. Try again in {seconds} seconds.", retry_after=seconds)

    async def clear(self, limit: RateLimitItem, kind: str, key: str) -> None:
        """Forget the attempts: the last one was right."""
        await self._ask(lambda limiter: limiter.clear(limit, kind, key))

    async def _ask(self, question: Callable[[MovingWindowRateLimiter], Awaitable[T]]) -> T:
        if self._shared is not None:
            try:
                return await question(self._shared)
            except StorageError as error:
                log.warning("attempts are counted here alone: Redis does not answer", error=str(error))
        return await question(self._own)
