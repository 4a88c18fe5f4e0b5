"""Dispatch to `testum worker`s: shards of jobs as Celery messages, one queue for each network zone.

A message is acknowledged when a worker takes it, and its result is ignored: who may do a task, and what came of it,
the database says. Redelivery after a timeout, which Celery's late acknowledgement means on Redis, would start work
that goes on longer than the timeout a second time.
"""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog
from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import KombuError, OperationalError

from testum.core.shards import Shard, cut
from testum.dispatch.base import Work
from testum.errors import ConfigurationError, StorageUnavailable

log = structlog.get_logger(__name__)

SHARD_TASK = "testum.shard"
_QUEUE = "testum."
_TIMEOUT_SECONDS = 5
_MOST_WAITING = 200
"""Messages in a queue above which a job is not sent to it again: its workers have all they can do."""


def make_celery(broker_url: str, zones: Sequence[str] = ()) -> Celery:
    """The Celery application, as senders and workers share it. Raises ConfigurationError."""
    if not broker_url.startswith(("redis://", "rediss://", "sentinel://")):
        raise ConfigurationError(
            "CELERY_BROKER_URL: is not the address of a Redis. It looks like redis://:password@host:6379/0."
        )
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
        broker_connection_timeout=_TIMEOUT_SECONDS,
        broker_transport_options={
            "socket_timeout": 30,
            "socket_connect_timeout": _TIMEOUT_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return celery


def queue_name(zone: str) -> str:
    """The queue that brings work to the workers of a network zone."""
    return f"{_QUEUE}{zone}"


class CeleryDispatcher:
    """See Dispatcher. Sends from a thread: the client of the broker blocks."""

    def __init__(self, broker_url: str) -> None:
        self._celery = make_celery(broker_url)
        self._sending: set[asyncio.Task[None]] = set()
        self._complained = False

    async def submit(self, work: Work) -> None:
        """See Dispatcher.submit. It does not wait for the broker."""
        task = asyncio.create_task(self._submit(work), name=f"dispatch-{work.job_id}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _submit(self, work: Work) -> None:
        shards = cut(work.pending, work.concurrency)
        try:
            await asyncio.to_thread(self._send, work.job_id, shards, again=work.again)
            self._complained = False
        except (KombuError, OperationalError, OSError) as error:
            if not self._complained:
                log.error("cannot send to the broker; trying again later", error=str(error))
                self._complained = True

    def _send(self, job_id: UUID, shards: Sequence[Shard], *, again: bool) -> None:
        with self._celery.producer_pool.acquire(block=True, timeout=_TIMEOUT_SECONDS) as producer:
            full: dict[str, bool] = {}
            for shard in shards:
                queue = queue_name(shard.zone)
                if again and full.setdefault(queue, self._waiting(producer, queue) > _MOST_WAITING):
                    continue
                self._celery.send_task(
                    SHARD_TASK,
                    args=[str(job_id), shard.zone, shard.number, shard.concurrency, len(shards)],
                    queue=queue,
                    producer=producer,
                    retry=False,
                )

    @staticmethod
    def _waiting(producer: Any, queue: str) -> int:
        """How many messages wait in the queue."""
        return int(producer.channel.client.llen(queue))

    async def check(self) -> None:
        """See Dispatcher.check."""
        try:
            await asyncio.to_thread(self._ping)
        except (KombuError, OperationalError, OSError) as error:
            raise StorageUnavailable(f"The broker does not answer: {error}") from None

    def _ping(self) -> None:
        with self._celery.producer_pool.acquire(block=True, timeout=_TIMEOUT_SECONDS) as producer:
            self._waiting(producer, queue_name("default"))

    async def close(self) -> None:
        """See Dispatcher.close."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=_TIMEOUT_SECONDS)
        self._celery.close()
