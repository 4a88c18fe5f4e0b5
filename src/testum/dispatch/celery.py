"""Dispatch to `testum worker`s: shards of jobs as Celery messages, one queue for each network zone.

A message is acknowledged when a worker takes it, and its result is ignored: who may do a task, and what came of it,
the database says. Redelivery after a timeout, which Celery's late acknowledgement means on Redis, would start work
that goes on longer than the timeout a second time.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID, uuid4

import structlog
from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError, ResponseError

from testum.core.shards import cut
from testum.dispatch import tolerance
from testum.dispatch.base import Work
from testum.dispatch.messages import ANSWER, ASK_TASK, SHARD_TASK
from testum.errors import ConfigurationError, StorageUnavailable, WritesRefused

log = structlog.get_logger(__name__)

T = TypeVar("T")

_ANSWER_SECONDS = 60
"""An answer that nobody takes is gone after so long."""
_LOOK_SECONDS = 0.1
_QUEUE = "testum."
_TIMEOUT_SECONDS = 5
_CHECK_MILLISECONDS = 60_000
_MOST_WAITING = 200
"""Messages in a queue above which a job is not sent to it again: its workers have all they can do."""

_AWAY = (KombuError, OperationalError, RedisError, OSError)
"""What is raised while the broker is away: by the messaging library, or by the client below it."""


def make_celery(broker_url: str, zones: Sequence[str] = ()) -> Celery:
    """The Celery application, as senders and workers share it. Raises ConfigurationError."""
    if not broker_url.startswith(("redis://", "rediss://", "sentinel://")):
        raise ConfigurationError(
            "CELERY_BROKER_URL: is not the address of a Redis. It looks like redis://:password@host:6379/0."
        )
    tolerance.install()
    celery = Celery("testum", broker=broker_url, set_as_current=False)
    celery.conf.update(
        task_ignore_result=True,
        task_acks_late=False,
        task_serializer="json",
        accept_content=["json"],
        task_queues=[Queue(queue_name(zone)) for zone in zones],
        task_default_queue=queue_name(zones[0]) if zones else queue_name("default"),
        # A worker takes a message when it has a process that is free, and not one on stock.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis that refuses to write for a while refuses to give messages, too: no reason for a worker to end.
        broker_channel_error_retry=True,
        broker_connection_timeout=_TIMEOUT_SECONDS,
        broker_transport_options={
            # A worker waits for messages; who sends waits for an answer.
            "socket_timeout": 30 if zones else _TIMEOUT_SECONDS,
            "socket_connect_timeout": _TIMEOUT_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 10,
            # Who sends hears at once that the broker is away, not after attempts two and four seconds later: a start is
            # refused, a question answered, and a job sent again by the sweep.
            **({} if zones else {"max_retries": 0}),
        },
    )
    return celery


def queue_name(zone: str) -> str:
    """The queue that brings work to the workers of a network zone."""
    return f"{_QUEUE}{zone}"


def send_answer(celery: Celery, reply: str, answer: str) -> None:
    """Give the answer to a question, from a worker; it waits for the broker. Raises what the broker's client does."""
    with celery.producer_pool.acquire(block=True, timeout=_TIMEOUT_SECONDS) as producer:
        client = producer.channel.client
        client.rpush(reply, answer)
        client.expire(reply, _ANSWER_SECONDS)


class CeleryDispatcher:
    """See Dispatcher. Sends from threads of its own, because the client of the broker blocks: one that hangs holds
    up nothing but what is for it, and of a job that waits for it no more than one thing is kept."""

    def __init__(self, broker_url: str) -> None:
        self._celery = make_celery(broker_url)
        # One that sends, and one that looks whether the broker answers.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="dispatch")
        self._askers = ThreadPoolExecutor(4, thread_name_prefix="ask")
        self._waiting: dict[UUID, Work] = {}
        self._sending: asyncio.Task[None] | None = None
        self._complained = False
        self._closed = False

    async def submit(self, work: Work) -> None:
        """See Dispatcher.submit. It does not wait for the broker."""
        if self._closed:
            return
        before = self._waiting.get(work.job_id)
        if before is not None and not before.again:
            work = replace(work, again=False)
        self._waiting[work.job_id] = work
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_waiting(), name="dispatch")

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                works = list(self._waiting.values())
                self._waiting.clear()
                try:
                    await asyncio.get_running_loop().run_in_executor(self._threads, self._send, works)
                    self._complained = False
                except _AWAY as error:
                    if not self._complained:
                        log.error("cannot send to the broker; trying again later", error=str(error))
                        self._complained = True
        finally:
            self._sending = None

    def _send(self, works: Sequence[Work]) -> None:
        with self._celery.producer_pool.acquire(block=True, timeout=_TIMEOUT_SECONDS) as producer:
            for work in works:
                full: dict[str, bool] = {}
                shards = cut(work.pending, work.concurrency)
                for shard in shards:
                    queue = queue_name(shard.zone)
                    if work.again and self._is_full(producer, queue, full):
                        continue
                    self._celery.send_task(
                        SHARD_TASK,
                        args=[str(work.job_id), shard.zone, shard.number, shard.concurrency, len(shards)],
                        queue=queue,
                        producer=producer,
                        retry=False,
                    )

    def _is_full(self, producer: Any, queue: str, known: dict[str, bool]) -> bool:
        """Whether a queue has no need of what was sent before; what was found stays `known`."""
        if queue not in known:
            known[queue] = self._queued(producer, queue) > _MOST_WAITING
        return known[queue]

    @staticmethod
    def _queued(producer: Any, queue: str) -> int:
        """How many messages wait in the queue."""
        return int(producer.channel.client.llen(queue))

    async def ask(self, zone: str, question: str, seconds: float) -> str:
        """See Dispatcher.ask. The answer comes over the broker as well, and not through the database: it is for one
        asker, and of no use a moment later."""
        reply = f"{ANSWER}{uuid4()}"
        async with asyncio.timeout(seconds):
            await self._on_asker(self._send_question, zone, question, reply, seconds)
            while True:
                answer = await self._on_asker(self._answer_to, reply)
                if answer is not None:
                    return answer
                await asyncio.sleep(_LOOK_SECONDS)

    async def _on_asker(self, call: Callable[..., T], *arguments: Any) -> T:
        """A call that waits for the broker. Raises StorageUnavailable."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._askers, call, *arguments)
        except _AWAY as error:
            raise StorageUnavailable(f"The broker does not answer: {error}") from None

    def _send_question(self, zone: str, question: str, reply: str, seconds: float) -> None:
        with self._celery.producer_pool.acquire(block=True, timeout=_TIMEOUT_SECONDS) as producer:
            self._celery.send_task(
                ASK_TASK,
                args=[question, reply],
                queue=queue_name(zone),
                producer=producer,
                retry=False,
                expires=seconds,
            )

    def _answer_to(self, reply: str) -> str | None:
        with self._celery.producer_pool.acquire(block=True, timeout=_TIMEOUT_SECONDS) as producer:
            found = producer.channel.client.lpop(reply)
        return None if found is None else bytes(found).decode()

    async def check(self) -> None:
        """See Dispatcher.check."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._ping)
        except ResponseError as error:
            raise WritesRefused(f"The broker refuses to write: {error}") from None
        except _AWAY as error:
            raise StorageUnavailable(f"The broker does not answer: {error}") from None

    def _ping(self) -> None:
        with self._celery.producer_pool.acquire(block=True, timeout=_TIMEOUT_SECONDS) as producer:
            self._queued(producer, queue_name("default"))
            client, key = producer.channel.client, f"testum:check:{uuid4()}"
            client.set(key, "1", px=_CHECK_MILLISECONDS)
            if not client.delete(key):
                raise KombuError("it does not keep what is written to it")

    async def close(self) -> None:
        """See Dispatcher.close."""
        self._closed = True
        if self._sending is not None:
            await asyncio.wait({self._sending}, timeout=_TIMEOUT_SECONDS)
        if self._sending is not None:
            self._sending.cancel()
        for threads in (self._threads, self._askers):
            threads.shutdown(wait=False, cancel_futures=True)
        self._celery.close()
