"""Recovery: nothing stays `running` for ever, and nothing that was committed stays undone."""

import asyncio
from uuid import UUID

import structlog

from testum.artifacts.base import Artifacts, output_key
from testum.core.frames import FrameDecoder, Stream, decode_text, encode
from testum.core.positions import Sequencer
from testum.core.states import TaskStatus
from testum.db import jobs, tasks
from testum.db.base import utc_now
from testum.db.session import Database
from testum.db.tasks import ENDING_WIDTH, Result, Task
from testum.dispatch.base import Dispatcher
from testum.events.base import Change, Events, Hint
from testum.execution.ledger import Ledger
from testum.execution.recorder import ROW_TEXT, SMALL_OUTPUT
from testum.execution.runner import Runner

log = structlog.get_logger(__name__)

_READ = 1024 * 1024


class Recovery:
    """Closes what dead workers left, and dispatches what nobody took up."""

    def __init__(
        self,
        *,
        database: Database,
        artifacts: Artifacts,
        sequencer: Sequencer,
        events: Events,
        dispatcher: Dispatcher,
        worker: str,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._sequencer = sequencer
        self._events = events
        self._dispatcher = dispatcher
        self._worker = worker

    async def at_start(self) -> None:
        """The only worker there can be has started: every task that runs is an earlier process's."""
        closed = await self._close(only_worker=True)
        if closed:
            log.warning("closed tasks that the last stop cut off", tasks=closed)
        await self.resume()

    async def sweep(self) -> None:
        """Close tasks whose lease ran out, end jobs whose tasks have all ended, dispatch the rest."""
        await self._close(only_worker=False)
        await self.resume()

    async def resume(self) -> None:
        """Settle every unfinished job, and dispatch those that have something left to do."""
        async with self._database.read() as session:
            unfinished = await jobs.unfinished(session)
        if not unfinished:
            return
        async with self._database.write() as session:
            ended = await jobs.settle(session, unfinished)
        for job_id in unfinished:
            if job_id in ended:
                self._events.publish(Hint(job_id, None, Change.STATUS))
            else:
                await self._dispatcher.submit(job_id)

    async def _close(self, *, only_worker: bool) -> int:
        closed = 0
        while True:
            async with self._database.write() as session:
                gone = await tasks.abandoned(
                    session,
                    alive=self._worker if only_worker else None,
                    now=None if only_worker else utc_now(),
                )
                if not gone:
                    return closed
                results = []
                for task in gone:
                    fence = await tasks.fence_off(session, task)
                    results.append(await self._salvage(task, fence))
                await tasks.finish(session, results)
                ended = await jobs.settle(session, dict.fromkeys(result.job_id for result in results))
            closed += len(results)
            await self._tell(results, list(ended))

    async def _tell(self, results: list[Result], ended: list[UUID]) -> None:
        for result in results:
            self._sequencer.release(result.job_id, result.position)
            self._events.publish(Hint(result.job_id, result.task_id, Change.STATUS))
            if result.frames is not None:
                await self._artifacts.delete(output_key(str(result.task_id)))
        for job_id in ended:
            self._events.publish(Hint(job_id, None, Change.STATUS))

    async def _salvage(self, task: Task, fence: int) -> Result:
        """The result of a task whose worker died: lost, with all of its output that was stored."""
        result = Result(
            task_id=task.id,
            job_id=task.job_id,
            fence=fence,
            status=TaskStatus.LOST,
            position=self._sequencer.reserve(task.job_id, ENDING_WIDTH),
            error_code="worker_died",
            error_message=(
                "The server died while the task was under way. Whether the command finished on the host "
                "is not known; it was not run again."
            ),
        )
        key = output_key(str(task.id))
        reader = await self._artifacts.reader(key)
        if reader is None:
            return result
        decoder = FrameDecoder()
        tails = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        small = bytearray()
        offset = 0
        try:
            while data := await reader.read(offset, _READ):
                offset += len(data)
                for frame in decoder.feed(data):
                    result.output_frames += 1
                    result.output_bytes += len(frame.data)
                    tails[frame.stream] = (tails[frame.stream] + frame.data)[-ROW_TEXT:]
                    if len(small) <= SMALL_OUTPUT:
                        small += encode(frame)
        finally:
            await reader.close()
        if decoder.pending:
            # The process died within a write: readers must not meet half a frame.
            await self._artifacts.truncate(key, offset - decoder.pending)
        result.stdout = decode_text(bytes(tails[Stream.STDOUT]))[0]
        result.stderr = decode_text(bytes(tails[Stream.STDERR]))[0]
        if len(small) <= SMALL_OUTPUT:
            result.frames = bytes(small)
        else:
            result.result_location = key
            result.details["output_truncated"] = True
        return result


async def keep_watch(
    recovery: Recovery, ledger: Ledger, runner: Runner, database: Database, lease: float
) -> None:
    """Renew this worker's leases, sweep, and hear of cancellations that no message told of; for ever."""
    while True:
        await asyncio.sleep(lease / 3)
        try:
            if runner.running_jobs:
                await ledger.renew()
                async with database.read() as session:
                    for job_id in await jobs.cancel_requested(session, list(runner.running_jobs)):
                        await runner.stop_job(job_id)
            await recovery.sweep()
        except Exception:
            # A database that is away for a while must not end the watch.
            log.exception("the watch failed; it goes on")
