"""The worker: `testum worker`. Celery's processes take messages; in each, one event loop does the work.

The loop lives as long as its process, so that SSH connections stay warm between shards. A message only hands its
shard to the loop, and is done: a process takes on as many jobs as it has slots for tasks.
"""

import asyncio
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from uuid import UUID

import structlog
import uvloop
from celery.signals import worker_process_init, worker_process_shutdown, worker_ready, worker_shutting_down

from testum.app import Role, Testum
from testum.core.shards import is_zone
from testum.dispatch.celery import make_celery, queue_name, send_answer
from testum.dispatch.loops import Loops
from testum.dispatch.messages import ASK_TASK, SHARD_TASK
from testum.errors import ConfigurationError, TestumError
from testum.installed import INSTALLED
from testum.settings import Settings

# The pool imports it with its first connection: here before, so that the processes that are forked share it.
from testum.ssh import connection, session  # noqa: F401

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 2.0
_TURN_SECONDS = 0.05
"""So long a process leaves a job's next shards to the others."""
_READY_SECONDS = 5.0
"""So long a question waits for a process that has just begun."""
_PARENT_SECONDS = 1.0
_CLOSE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard as its message brought it; a later message for the same one is equal."""

    job_id: UUID
    zone: str
    number: int


class Child:
    """One of the worker's processes, from its fork to its end."""

    def __init__(self, settings: Settings, leaving: mmap.mmap, main: int) -> None:
        """The first byte of `leaving`, which is shared with the main process, is not 0 once the worker stops, and more than
        1 once it is to stop now. `main` is the main process's pid: it may be gone before this process asks who its
        parent is."""
        self._settings = settings
        self._leaving = leaving
        self._main = main
        self._loop = uvloop.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._stopping = False
        self._orders: dict[_Shard, tuple[int, str]] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._testum: Testum | None = None
        self._loops: Loops[_Shard] | None = None
        self._thread = threading.Thread(target=self._run, name="testum", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def take(self, shard: _Shard, concurrency: int, message: str, *, of: int) -> None:
        """Take a shard on; called by the thread that Celery runs. It returns when there may be a next. What comes when
        the worker stops is left to others: the sweep sends it again."""
        while not self._stopping:
            if self._leaving[0]:
                # Celery ends the process only when this thread is free.
                return
            # Not before there is room: until then the messages are for others.
            if self._ready.wait(_TURN_SECONDS) and not self._full():
                break
            time.sleep(_TURN_SECONDS)
        self._loop.call_soon_threadsafe(self._take, shard, concurrency, message)
        if of > 1:
            time.sleep(_TURN_SECONDS)

    def answer(self, question: str, tell: Callable[[str], None]) -> None:
        """Take a question on, also where there is no room for tasks; `tell` gives the answer and may block. Called by
        the thread that Celery runs."""
        if self._ready.wait(_READY_SECONDS):
            self._loop.call_soon_threadsafe(self._begin_answer, question, tell)

    def _begin_answer(self, question: str, tell: Callable[[str], None]) -> None:
        task = asyncio.create_task(self._answer(question, tell), name="answer")
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, question: str, tell: Callable[[str], None]) -> None:
        assert self._testum is not None and self._testum.engine is not None
        try:
            answer = await self._testum.engine.prober.answer(question)
            await asyncio.to_thread(tell, answer)
        except Exception:
            log.exception("a question was not answered")

    def close(self) -> None:
        """Finish what is under way, or end it after a while; the rest is left to others."""
        self._stopping = True
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(self._settings.worker_drain_seconds + _CLOSE_SECONDS)
        if self._thread.is_alive():
            log.error("a worker's process is ended before its time", waits_in=_places(self._loop))

    def _full(self) -> bool:
        return self._testum is None or self._testum.engine is None or self._testum.engine.runner.full

    def _take(self, shard: _Shard, concurrency: int, message: str) -> None:
        if self._loops is not None:
            self._orders[shard] = (concurrency, message)
            self._loops.submit(shard)

    async def _work(self, shard: _Shard) -> None:
        assert self._testum is not None and self._testum.engine is not None
        order = self._orders.pop(shard, None)
        if order is None:
            # It came before the loop for the one before it had begun, which has taken it up.
            return
        concurrency, message = order
        await self._testum.engine.runner.run_job(
            shard.job_id, most=concurrency, zones=[shard.zone], message=message
        )

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._live())
        except Exception:
            log.exception("a worker's process failed")
        finally:
            # Whatever Celery's side of the process waits for: without this loop it is of no use.
            os._exit(0 if self._stopping else 1)

    async def _live(self) -> None:
        testum = await self._open()
        if testum is None:
            return
        assert testum.engine is not None
        self._testum, self._loops = testum, Loops(self._work)
        self._ready.set()
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(_PARENT_SECONDS):
                    await self._stop.wait()
            except TimeoutError:
                if os.getppid() != self._main:
                    log.error("the worker's main process is gone; its processes finish and end")
                    break
                if self._leaving[0]:
                    testum.engine.runner.retire()
        self._stopping = True
        await self._drain(testum)
        await testum.engine.runner.stop()
        await self._loops.close()
        await testum.close()

    async def _drain(self, testum: Testum) -> None:
        """Let what is under way come to its end, unless all is to end now."""
        draining = asyncio.create_task(testum.drain(self._settings.worker_drain_seconds), name="drain")
        while not draining.done() and self._leaving[0] <= 1:
            await asyncio.wait({draining}, timeout=_PARENT_SECONDS)
        if draining.done():
            await draining
        else:
            log.warning("told a second time to stop; tasks under way are ended")
            draining.cancel()
            await asyncio.wait({draining})

    async def _open(self) -> Testum | None:
        """Start; the settings were found good when the worker started, so what is away now will come back."""
        while not self._stop.is_set() and os.getppid() == self._main:
            try:
                return await Testum.open(self._settings, INSTALLED, Role.WORKER)
            except TestumError as error:
                log.error("a worker's process cannot start; trying on", error=error.message)
                await asyncio.sleep(_RETRY_SECONDS)
        return None


def _places(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Where the loop's tasks are."""
    places = [frame for task in asyncio.all_tasks(loop) for frame in task.get_stack(limit=1)]
    return sorted(f"{frame.f_code.co_qualname}:{frame.f_lineno}" for frame in places)


async def _try(settings: Settings) -> None:
    await (await Testum.open(settings, INSTALLED, Role.WORKER)).close()


def _check(settings: Settings) -> str | None:
    """Start once and stop: what is wrong with the settings, if anything."""
    try:
        asyncio.run(_try(settings))
    except TestumError as error:
        return error.message
    return None


def _tell_problem(settings: Settings, receiver: Connection, sender: Connection) -> None:
    # The main process may be gone by then: without its own copy of the other end, this one would not hear of it.
    receiver.close()
    # Ctrl-C goes to the whole group; the main process ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    problem = _check(settings)
    with suppress(BrokenPipeError):
        sender.send(problem)


def _problem(settings: Settings) -> str | None:
    """What is wrong with the settings, found in a process of its own: what it opens must not be inherited by Celery's.

    Forked, as those are, and before there is any thread here: another would import everything once more. It waits for
    nothing from this one, so that it ends also where this one is killed meanwhile. Raises ConfigurationError.
    """
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    trial = context.Process(target=_tell_problem, args=(settings, receiver, sender), daemon=True)
    trial.start()
    sender.close()
    with receiver:
        try:
            problem: str | None = receiver.recv()
        except EOFError:
            problem = None
    trial.join()
    if trial.exitcode:
        raise ConfigurationError(f"The process that tries the settings failed: exit status {trial.exitcode}.")
    return problem


def run(settings: Settings, processes: int) -> int:
    """Work until a signal ends it; the exit status. Raises ConfigurationError."""
    if not settings.celery_broker_url:
        raise ConfigurationError(
            "CELERY_BROKER_URL: is not set. Without it `testum serve` does the work itself, and needs no worker."
        )
    for zone in settings.worker_zones:
        if not is_zone(zone):
            raise ConfigurationError(
                f"WORKER_QUEUES: {zone!r} is no name of a network zone: small letters, digits, dots, dashes, at most 63."
            )
    celery = make_celery(settings.celery_broker_url, settings.worker_zones)
    if problem := _problem(settings):
        raise ConfigurationError(problem)
    child: list[Child] = []
    # Shared with the processes that are forked, and written in a signal's handler: nothing that has a lock would do.
    leaving = mmap.mmap(-1, 1)
    main = os.getpid()

    def begin(**_: Any) -> None:
        # Ctrl-C goes to the whole group; the main process says when its processes end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        child.append(Child(settings, leaving, main))
        child[0].start()

    def leave(**_: Any) -> None:
        # Once for each signal. Celery's own answer to a second Ctrl-C forgets its messages, and ends nothing on the hosts.
        leaving[0] = min(leaving[0] + 1, 2)
        signal.signal(signal.SIGINT, lambda *_: leave())

    def end(**_: Any) -> None:
        child[0].close()

    def ready(**_: Any) -> None:
        zones = ", ".join(settings.worker_zones)
        print(
            f"testum worker {socket.gethostname()} serves {zones} with {processes} processes. Ctrl-C stops it.",
            flush=True,
        )

    def shard(self: Any, job_id: str, zone: str, number: int, concurrency: int, of: int) -> None:
        child[0].take(_Shard(UUID(job_id), zone, number), concurrency, str(self.request.id), of=of)

    def ask(question: str, reply: str) -> None:
        child[0].answer(question, lambda answer: send_answer(celery, reply, answer))

    worker_process_init.connect(begin, weak=False)
    worker_process_shutdown.connect(end, weak=False)
    worker_shutting_down.connect(leave, weak=False)
    worker_ready.connect(ready, weak=False)
    celery.task(name=SHARD_TASK, bind=True)(shard)
    celery.task(name=ASK_TASK)(ask)
    worker = celery.Worker(
        hostname=f"testum@{socket.gethostname()}-{os.getpid()}",
        pool="prefork",
        concurrency=processes,
        queues=[queue_name(zone) for zone in settings.worker_zones],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="WARNING",
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)
