"""Events between processes, over two Redis streams: one of jobs, which are few, and one of their tasks.

Streams and not Pub/Sub: a process whose connection broke reads on from where it was. They are short, and may be lost
at any time: then the subscribers are woken and look by themselves.
"""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any
from uuid import UUID

import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from testum.errors import ConfigurationError, StorageUnavailable, WritesRefused
from testum.events.base import Change, Hint
from testum.events.memory import MemoryEvents, MemorySubscription

log = structlog.get_logger(__name__)

_JOBS = b"testum:events:jobs"
_TASKS = b"testum:events:tasks"
_KEPT = 10_000
"""Entries kept in a stream, about: minutes, for a process that was away."""
_AT_ONCE = 1_000
"""Hints in one entry."""
_MOST_WAITING = 20_000
_GATHER_SECONDS = 0.01
_RETRY_SECONDS = 0.5
_BLOCK_SECONDS = 5.0
_TIMEOUT_SECONDS = 5.0
_CHECK_MILLISECONDS = 60_000

_CHANGES = {Change.OUTPUT: b"o", Change.STATUS: b"s"}
_CHANGE_OF = {code: change for change, code in _CHANGES.items()}
_NO_TASK = bytes(16)
_HINT_SIZE = 33


def pack(hints: list[Hint]) -> bytes:
    """Hints as bytes: of each the job's id, the task's (zeros for none), and a letter for the change."""
    return b"".join(
        hint.job_id.bytes + (hint.task_id.bytes if hint.task_id else _NO_TASK) + _CHANGES[hint.change]
        for hint in hints
    )


def unpack(packed: bytes) -> Iterator[Hint]:
    """The hints that `pack` made bytes of; what is not known (of a newer release) is left out."""
    for start in range(0, len(packed) - _HINT_SIZE + 1, _HINT_SIZE):
        job_id, task_id, code = (
            packed[start : start + 16],
            packed[start + 16 : start + 32],
            packed[start + 32 : start + 33],
        )
        if (change := _CHANGE_OF.get(code)) is not None:
            yield Hint(UUID(bytes=job_id), UUID(bytes=task_id) if task_id != _NO_TASK else None, change)


class RedisEvents:
    """See Events. `start` it before anything subscribes. Without `of_tasks` nothing is heard of the tasks that other
    processes do: a worker needs not know, and there may be hundreds in a second."""

    def __init__(self, url: str, *, setting: str = "REDIS_URL", of_tasks: bool = True) -> None:
        """`setting` is the one that the address comes from."""
        self._setting = setting
        self._client = _client(url, _TIMEOUT_SECONDS, setting)
        # A read that blocks needs a connection of its own, with a longer patience.
        self._listener = _client(url, _BLOCK_SECONDS + _TIMEOUT_SECONDS, setting)
        self._local = MemoryEvents()
        self._name = secrets.token_bytes(8)
        self._waiting: dict[Hint, None] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._last = dict.fromkeys((_JOBS, _TASKS) if of_tasks else (_JOBS,), b"0-0")
        """The streams that are listened to, and of each the entry that was heard last."""
        self._loops: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        """Begin to listen. Raises ConfigurationError where the server cannot be used."""
        try:
            await self._client.ping()
            self._last = {stream: await self._newest(stream) for stream in self._last}
        except AuthenticationError as error:
            raise ConfigurationError(
                f"{self._setting}: the server refuses the password: {str(error).rstrip('.')}. Correct it."
            ) from None
        except (RedisError, OSError) as error:
            raise ConfigurationError(
                f"{self._setting}: the server cannot be used: {str(error).rstrip('.')}. Check the address, and that it runs."
            ) from None
        self._loops = [asyncio.create_task(self._send()), asyncio.create_task(self._listen())]

    def publish(self, hint: Hint) -> None:
        """See Events.publish."""
        self._local.publish(hint)
        if len(self._waiting) < _MOST_WAITING:
            self._waiting[hint] = None
            self._wake.set()
            self._idle.clear()

    def subscribe(
        self, *, job_id: UUID | None = None, task_id: UUID | None = None
    ) -> AbstractAsyncContextManager[MemorySubscription]:
        """See Events.subscribe."""
        return self._local.subscribe(job_id=job_id, task_id=task_id)

    def subscribe_jobs(self) -> AbstractAsyncContextManager[MemorySubscription]:
        """See Events.subscribe_jobs."""
        return self._local.subscribe_jobs()

    async def check(self) -> None:
        """See Events.check."""
        key = b"testum:check:" + self._name
        try:
            await self._client.set(key, b"1", px=_CHECK_MILLISECONDS)
            if await self._client.get(key) is None:
                raise StorageUnavailable("Redis does not keep what is written to it.")
        except ResponseError as error:
            # A replica, OOM without eviction, MISCONF after a failed save, NOREPLICAS.
            raise WritesRefused(f"Redis refuses to write: {error}") from None
        except (RedisError, OSError) as error:
            raise StorageUnavailable(f"Redis does not answer: {error}") from None

    async def close(self) -> None:
        """See Events.close."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._idle.wait()
        self._closing = True
        pending = set(self._loops)
        while pending:
            # Again and again: redis-py may take a cancellation for a timeout of its own, and answer.
            for loop in pending:
                loop.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)
        await self._client.aclose()
        await self._listener.aclose()

    async def _send(self) -> None:
        complained = False
        while not self._closing:
            await self._wake.wait()
            hints = list(self._waiting)[:_AT_ONCE]
            for hint in hints:
                # Told again while it is on its way, it is told again to the others, too.
                del self._waiting[hint]
            try:
                for stream in (_JOBS, _TASKS):
                    if of_it := [hint for hint in hints if (hint.task_id is None) == (stream is _JOBS)]:
                        await self._client.xadd(
                            stream, {"from": self._name, "hints": pack(of_it)}, maxlen=_KEPT, approximate=True
                        )
            except Exception as error:
                if not complained:
                    log.error("cannot send events; watchers will look by themselves", error=str(error))
                    complained = True
                self._waiting = dict.fromkeys((*hints, *self._waiting))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            complained = False
            if not self._waiting:
                self._wake.clear()
                self._idle.set()
            # The first goes at once; what follows it closely goes together.
            await asyncio.sleep(_GATHER_SECONDS)

    async def _listen(self) -> None:
        complained = False
        while not self._closing:
            try:
                # The first look after a failure does not wait: what it finds missing, others are waiting for.
                block = None if complained else int(_BLOCK_SECONDS * 1000)
                answer: Any = await self._listener.xread(self._last, count=500, block=block)
                anew = not answer and await self._begins_anew()
            except Exception as error:
                # Whatever it is: without this loop the process would hear nothing for ever.
                if not complained:
                    log.error("cannot hear events; trying on", error=str(error))
                    complained = True
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if complained or anew:
                complained = False
                # Some may have been lost with the server, or have left the stream meanwhile.
                self._local.wake_all()
            for stream, entries in answer.items() if isinstance(answer, dict) else answer or ():
                for entry_id, fields in entries:
                    self._last[stream] = entry_id
                    if fields.get(b"from") != self._name:
                        for hint in unpack(fields.get(b"hints", b"")):
                            self._local.publish(hint)

    async def _begins_anew(self) -> bool:
        """Whether a stream ends before the place where this process is: it began anew, on a server whose clock is
        behind the last one's. Nothing would be heard until that clock had caught up: so it is followed from here."""
        anew = False
        for stream, last in self._last.items():
            newest = await self._newest(stream)
            if _moment(newest) < _moment(last):
                self._last[stream] = newest
                anew = True
        return anew

    async def _newest(self, stream: bytes) -> bytes:
        """The last entry of a stream."""
        newest: Any = await self._client.xrevrange(stream, count=1)
        return newest[0][0] if newest else b"0-0"


def _moment(entry_id: bytes) -> tuple[int, int]:
    """An entry's id as what it is: milliseconds, and a number within them."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)


def _client(url: str, timeout: float, setting: str) -> Any:
    try:
        return redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            # The loops here try again by themselves, and say so.
            retry=Retry(NoBackoff(), 0),
            client_name="testum",
        )
    except ValueError as error:
        raise ConfigurationError(
            f"{setting}: {error}. It looks like redis://:password@host:6379/0."
        ) from None
