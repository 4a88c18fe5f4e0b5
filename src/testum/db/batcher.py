"""Doing many small things as few big ones: what is asked for while one round is under way makes up the
next (group commit: Gawlick and Kinkade, "Varieties of Concurrency Control in IMS/VS Fast Path", 1985).
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Batcher(Generic[Request, Answer]):
    """Collects requests for `do`, which answers a whole round of them in order, an exception for one that failed, or
    raises for all.

    A round begins when the first of those who ask can wait no longer: `gather` seconds after asking, where they do not say
    otherwise.
    """

    def __init__(
        self,
        do: Callable[[Sequence[Request]], Awaitable[Sequence[Answer | Exception]]],
        *,
        gather: float,
        most: int = 500,
    ) -> None:
        self._do = do
        self._gather = gather
        self._most = most
        self._waiting: list[tuple[Request, asyncio.Future[Answer]]] = []
        self._due = math.inf
        """When the next round begins, by the loop's clock."""
        self._hurried = asyncio.Event()
        """It begins sooner than it was to."""
        self._round: asyncio.Task[None] | None = None

    async def ask(self, request: Request, *, within: float | None = None) -> Answer:
        """The answer to one request, whose round begins within so many seconds. Cancelling the asker does not take the
        request back."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((request, done))
        self._begin_by(loop.time() + (self._gather if within is None else within))
        if self._round is None:
            self._round = asyncio.create_task(self._rounds(), name="batch")
        return await done

    def _begin_by(self, due: float) -> None:
        if due < self._due:
            self._due = due
            self._hurried.set()

    async def _rounds(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                while (left := self._due - loop.time()) > 0:
                    self._hurried.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(left):
                            await self._hurried.wait()
                now, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                self._due = 0.0 if self._waiting else math.inf
                answers: Sequence[Answer | Exception]
                try:
                    answers = await self._do([request for request, _ in now])
                except Exception as error:
                    answers = [error] * len(now)
                for (_, done), answer in zip(now, answers, strict=True):
                    if done.done():
                        # Whoever asked is gone.
                        continue
                    if isinstance(answer, Exception):
                        done.set_exception(answer)
                    else:
                        done.set_result(answer)
        finally:
            self._round = None

    async def drain(self) -> None:
        """Until nothing is waiting."""
        while self._round is not None:
            self._begin_by(0.0)
            await asyncio.wait({self._round})
