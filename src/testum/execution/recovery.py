"""Recovery: nothing stays `running` for ever, and nothing that was committed stays undone.

Any number of processes may do this at once: a task whose owner is gone is first taken over by one of them,
with a fence and a lease of its own, and then closed. Should that one die, another takes it from it.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog

from testum.core.frames import Stream, decode_text
from testum.core.states import TaskStatus
from testum.db import jobs, leases
from testum.db.bulk import chunks
from testum.db.leases import Lease
from testum.db.positions import Positions, last_given
from testum.db.results import Remains, Result
from testum.db.session import Database, lease_now
from testum.dispatch.base import Dispatcher, Work
from testum.errors import StorageUnavailable
from testum.events.base import Change, Events, Hint
from testum.execution.leases import LeaseObserver
from testum.execution.recorder import ROW_TEXT, SMALL_OUTPUT
from testum.output.base import OutputStore

log = structlog.get_logger(__name__)


class Recovery:
    """Closes what dead workers left, and dispatches what nobody took up."""

    def __init__(
        self,
        *,
        database: Database,
        positions: Positions,
        outputs: OutputStore,
        events: Events,
        dispatcher: Dispatcher,
        worker: str,
        lease_seconds: float,
        held: Callable[[UUID], bool],
    ) -> None:
        """`held`: whether this process is doing a task. It is not gone, however late it renews its lease."""
        self._database = database
        self._positions = positions
        self._outputs = outputs
        self._events = events
        self._dispatcher = dispatcher
        self._worker = worker
        self._lease = dt.timedelta(seconds=lease_seconds)
        self._held = held
        self._observer = LeaseObserver(lease_seconds)

    async def at_start(self) -> None:
        """The only worker there can be has started: every task that runs is an earlier process's."""
        async with self._database.read() as session:
            # The clock may have been set back since.
            self._positions.go_on_after(await last_given(session))
            gone = [lease for lease in await leases.of_running(session) if lease.worker != self._worker]
        if closed := await self._close(gone):
            log.warning("took up tasks that the last stop cut off", tasks=closed)
        await self.resume()

    async def close_abandoned(self) -> None:
        """Look at all leases, and close the tasks of those that this process has seen run out. To be done several times in
        a lease's length."""
        try:
            async with self._database.read() as session:
                current = await leases.of_running(session)
        except StorageUnavailable:
            # Those that live get the time to say so.
            self._observer.reset()
            raise
        if closed := await self._close(self._observer.observe(current)):
            log.warning("closed tasks whose worker is gone", tasks=closed)

    async def resume(self) -> None:
        """Settle every unfinished job, and dispatch those that have something left to do."""
        async with self._database.read() as session:
            unsettled = await jobs.unsettled(session)
            waiting = await jobs.waiting(session)
        if unsettled:
            async with self._database.write() as session:
                ended = await jobs.settle(session, unsettled)
            for job_id in ended:
                self._events.publish(Hint(job_id, None, Change.STATUS))
        for job_id, concurrency, pending in waiting:
            await self._dispatcher.submit(Work(job_id, concurrency, pending, again=True))

    async def _close(self, gone: Sequence[Lease]) -> int:
        closed = 0
        for chunk in chunks([lease for lease in gone if not self._held(lease.id)]):
            taken = await self._take_over(chunk)
            for result in taken:
                if result.status is TaskStatus.PENDING:
                    # Whoever does it again begins its output anew.
                    await self._outputs.discard(result.task_id)
                else:
                    await self._salvage(result)
            await self._finish(taken)
            closed += len(taken)
        return closed

    async def _take_over(self, gone: Sequence[Lease]) -> list[Result]:
        """Become the owner of tasks, so that nobody else can write about them: their results to be."""
        taken: list[Result] = []
        async with self._database.write() as session:
            lease = await lease_now(session) + self._lease
            # `gone` is in the order of jobs, in which everybody locks them.
            for job_id in dict.fromkeys(task.job_id for task in gone):
                self._positions.release(job_id, await self._positions.reserve(session, job_id, 1))
                for task in gone:
                    if task.job_id != job_id:
                        continue
                    found = await leases.take_over(session, task, worker=self._worker, lease=lease)
                    if found is not None:
                        taken.append(_result(task, *found))
        return taken

    async def _finish(self, results: Sequence[Result]) -> None:
        """Write the ends of tasks that were taken over."""
        for job_id in dict.fromkeys(result.job_id for result in results):
            of_job = [result for result in results if result.job_id == job_id]
            width = sum(result.width for result in of_job)
            async with self._database.write() as session:
                last = await self._positions.reserve(session, job_id, width)
                try:
                    for number, result in enumerate(of_job):
                        result.position = last - (len(of_job) - 1 - number) * result.width
                    await jobs.end_tasks(session, of_job)
                    ended = await jobs.settle(session, [job_id])
                    await session.commit()
                finally:
                    self._positions.release(job_id, last)
            for result in of_job:
                self._events.publish(Hint(job_id, result.task_id, Change.STATUS))
                if result.shown is not None:
                    await self._outputs.discard(result.task_id)
            if ended:
                self._events.publish(Hint(job_id, None, Change.STATUS))

    async def _salvage(self, result: Result) -> None:
        """Put all of the task's output that was stored into its result."""
        found = await self._outputs.salvage(result.task_id, tail=ROW_TEXT, small=SMALL_OUTPUT)
        self._positions.go_on_after(found.position)
        result.output_frames, result.output_bytes = found.frames, found.payload
        result.stdout = decode_text(found.tails[Stream.STDOUT])[0]
        result.stderr = decode_text(found.tails[Stream.STDERR])[0]
        if found.encoded is not None:
            result.shown = found.encoded
        else:
            result.result_location = self._outputs.location(result.task_id)
            result.details["output_truncated"] = True


def _result(task: Lease, fence: int, unsent: bool) -> Result:
    if unsent:
        return Result(task.id, task.job_id, fence, TaskStatus.PENDING, sent=False)
    return Result(
        task_id=task.id,
        job_id=task.job_id,
        fence=fence,
        status=TaskStatus.LOST,
        error_code="worker_died",
        error_message=(
            "The server died while the task was under way. Whether the command finished on the host "
            "is not known; it was not run again."
        ),
        remains=Remains(to_be_ended=False),
    )
