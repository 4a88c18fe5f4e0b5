"""Dispatchers of both kinds, each with somebody at work: loops in this process, and a real Celery worker."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID, uuid4

import psutil
import pytest
import redis

from tests.support import redis as support
from tests.support.redis import RedisServer
from tests.support.waiting import eventually
from testum.dispatch.base import Dispatcher, Work
from testum.dispatch.celery import CeleryDispatcher
from testum.dispatch.local import LocalDispatcher

SOON = 20.0
"""Seconds that no message takes, however busy the machine is."""


class Bench(Protocol):
    """A dispatcher, and what reached those who work."""

    dispatcher: Dispatcher

    async def brought(self) -> Sequence[UUID]:
        """The jobs that were brought, in order; one as often as it was."""


async def until_brought(bench: Bench, *job_ids: UUID) -> None:
    """Wait until these jobs have been brought."""

    async def brought() -> bool:
        return set(job_ids) <= set(await bench.brought())

    await eventually(brought, SOON)


def work(job_id: UUID | None = None, *, concurrency: int = 4, again: bool = False, **pending: int) -> Work:
    """A job with so many pending tasks in each zone; without any named, three in the default one."""
    return Work(job_id or uuid4(), concurrency, pending or {"default": 3}, again)


@dataclass
class Local:
    """See Bench. Jobs begin at once, and end when `gate` is open."""

    jobs: list[UUID] = field(default_factory=list)
    running: list[UUID] = field(default_factory=list)
    most_at_once: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    dispatcher: Dispatcher = field(init=False)

    def __post_init__(self) -> None:
        self.dispatcher = LocalDispatcher(self._run, self._answer)

    async def _run(self, job_id: UUID) -> None:
        self.jobs.append(job_id)
        self.running.append(job_id)
        self.most_at_once = max(self.most_at_once, self.running.count(job_id))
        await self.gate.wait()
        self.running.remove(job_id)

    @staticmethod
    async def _answer(question: str) -> str:
        """As the worker of the other bench does."""
        if question == "hard":
            await asyncio.Event().wait()
        return f"{question}!"

    async def brought(self) -> Sequence[UUID]:
        """See Bench.brought."""
        return self.jobs


_WORKER = """
import json, os
import redis
from testum.dispatch.celery import ASK_TASK, SHARD_TASK, make_celery, queue_name, send_answer

notes = redis.Redis.from_url(os.environ["NOTES"])

def shard(self, *given):
    notes.rpush("brought", json.dumps([self.request.delivery_info["routing_key"], *given]))

def ask(question, reply):
    notes.rpush("asked", question)
    if question != "hard":
        send_answer(celery, reply, question + "!")

zones = os.environ["ZONES"].split(",")
celery = make_celery(os.environ["BROKER"], zones)
celery.task(name=SHARD_TASK, bind=True)(shard)
celery.task(name=ASK_TASK)(ask)
celery.Worker(
    pool=os.environ["POOL"], concurrency=1, queues=[queue_name(zone) for zone in zones],
    without_gossip=True, without_mingle=True, without_heartbeat=True, loglevel="WARNING", quiet=True,
).start()
"""


class CeleryWorker:
    """A worker of Celery's in a process of its own, which notes what it is brought."""

    def __init__(self, broker: str, notes: str, *zones: str, pool: str = "solo") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER],
            env={**os.environ, "BROKER": broker, "NOTES": notes, "ZONES": ",".join(zones), "POOL": pool},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def processes(self) -> set[int]:
        """The ids of its processes that live."""
        own = psutil.Process(self.process.pid)
        return {own.pid, *(child.pid for child in own.children(recursive=True))}


@dataclass
class Remote:
    """See Bench. `broker` and `notes` are addresses of Redis databases."""

    broker: str
    notes: str
    dispatcher: CeleryDispatcher = field(init=False)

    def __post_init__(self) -> None:
        self.dispatcher = CeleryDispatcher(self.broker)

    def _noted(self) -> list[Any]:
        with redis.Redis.from_url(self.notes) as client:
            return [json.loads(line) for line in client.lrange("brought", 0, -1)]

    async def noted(self) -> list[Any]:
        """What was brought: queue, job, zone, number, concurrency, of how many."""
        return await asyncio.to_thread(self._noted)

    async def brought(self) -> Sequence[UUID]:
        """See Bench.brought."""
        return [UUID(line[1]) for line in await self.noted()]

    def queued(self, queue: str) -> list[list[Any]]:
        """The arguments of the messages that wait in a queue, the next one first."""
        with redis.Redis.from_url(self.broker) as client:
            messages = [json.loads(line) for line in reversed(client.lrange(queue, 0, -1))]
        return [list(json.loads(_body(message))[0]) for message in messages]


def _body(message: Any) -> bytes:
    import base64

    return base64.b64decode(message["body"])


@pytest.fixture(scope="session")
def celery_worker(redis_server: RedisServer) -> Iterator[tuple[str, str]]:
    """A worker for the default zone; the addresses of its broker and its notes."""
    broker, notes = redis_server.fresh_url(), redis_server.fresh_url()
    worker = CeleryWorker(broker, notes, "default")
    yield broker, notes
    worker.close()


@pytest.fixture(params=["local", "celery"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """See Bench."""
    if request.param == "local":
        local = Local()
        yield local
        local.gate.set()
        await local.dispatcher.close()
    else:
        remote = Remote(*request.getfixturevalue("celery_worker"))
        yield remote
        await remote.dispatcher.close()


@pytest.fixture(scope="module")
def own_broker() -> Iterator[RedisServer]:
    """A Redis that tests may break."""
    if reason := support.missing():
        pytest.skip(reason)
    with RedisServer() as server:
        yield server
