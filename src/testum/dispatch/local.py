"""Dispatch within one process: a job is an asyncio task of the server's own loop."""

import asyncio
from collections.abc import Callable, Coroutine
from uuid import UUID

import structlog

from testum.dispatch.base import Work

log = structlog.get_logger(__name__)


class LocalDispatcher:
    """See Dispatcher. `run` runs a job's pending tasks to their end."""

    def __init__(self, run: Callable[[UUID], Coroutine[None, None, None]]) -> None:
        self._run = run
        self._jobs: dict[UUID, asyncio.Task[None]] = {}
        self._again: set[UUID] = set()
        self._closed = False

    async def submit(self, work: Work) -> None:
        """See Dispatcher.submit."""
        self._submit(work.job_id)

    def _submit(self, job_id: UUID) -> None:
        if self._closed:
            return
        if job_id in self._jobs:
            # Its loop may be about to end: it goes round once more.
            self._again.add(job_id)
            return
        task = asyncio.create_task(self._run(job_id), name=f"job-{job_id}")
        self._jobs[job_id] = task
        task.add_done_callback(lambda done: self._ended(job_id, done))

    def _ended(self, job_id: UUID, task: asyncio.Task[None]) -> None:
        del self._jobs[job_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job loop failed", job_id=str(job_id), exc_info=error)
        if job_id in self._again:
            self._again.discard(job_id)
            self._submit(job_id)

    async def check(self) -> None:
        """See Dispatcher.check. This process is at hand."""

    def active(self) -> set[UUID]:
        """The jobs that are being run."""
        return set(self._jobs)

    async def close(self) -> None:
        """Take no more jobs and wait for the loops of those there are; their tasks were ended before."""
        self._closed = True
        if self._jobs:
            await asyncio.wait(list(self._jobs.values()))
