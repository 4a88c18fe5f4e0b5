"""Doing many small things as few big ones: what is asked for while one round is under way makes up the
next (group commit: Gawlick and Kinkade, "Varieties of Concurrency Control in IMS/VS Fast Path", 1985).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Batcher(Generic[Request, Answer]):
    """Collects requests for `do`, which answers a whole round of them in order, an exception for one that failed, or
    raises for all.

    A round begins `gather` seconds after its first request, or as soon as someone asks who cannot wait.
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
        self._urgent = asyncio.Event()
        self._waiting: list[tuple[Request, asyncio.Future[Answer]]] = []
        self._round: asyncio.Task[None] | None = None

    async def ask(self, request: Request, *, urgent: bool = False) -> Answer:
        """The answer to one request. Cancelling the asker does not take the request back."""
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, done))
        if urgent:
            self._urgent.set()
        if self._round is None:
            self._round = asyncio.create_task(self._rounds(), name="batch")
        return await done

    async def _rounds(self) -> None:
        try:
            while self._waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._gather):
                        await self._urgent.wait()
                self._urgent.clear()
                now, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
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
                        # Whoever asked may leave before reading it: an error nobody fetches is not worth a warning.
                        done.exception()
                    else:
                        done.set_result(answer)
        finally:
            self._round = None

    async def drain(self) -> None:
        """Until nothing is waiting."""
        self._urgent.set()
        while self._round is not None:
            await asyncio.wait({self._round})
