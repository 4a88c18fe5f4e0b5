"""The runner: does a job's tasks, as many at once as the job and the process allow."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import structlog

from testum.core.states import TaskStatus
from testum.db import contacts
from testum.db.claims import Claim
from testum.db.contacts import Contact
from testum.db.results import Remains, Result
from testum.db.session import Database
from testum.errors import TestumError
from testum.events.base import Events
from testum.execution.endpoints import Endpoints
from testum.execution.ledger import Ledger, Wanted
from testum.execution.outcome import Context, JobWork, Outcome
from testum.execution.persist import persist
from testum.execution.recorder import Recorder
from testum.execution.slots import Slots, UnderWay
from testum.execution.work import JobLoader
from testum.output.base import OutputStore, Owner, TakenOver
from testum.ssh import Endpoint, Pool, Progress

log = structlog.get_logger(__name__)

_OUTPUT_FAILED = frozenset({"storage_full", "storage_unavailable"})

_Found = tuple[Mapping[UUID, Contact], Mapping[UUID, Endpoint | TestumError]]
"""Platforms by their ids, and how to reach them, or why that is not known."""


@dataclass(slots=True)
class _Running:
    """A task under way. `reason` is set when it is to be ended before its time."""

    job_id: UUID
    begun: float = field(default_factory=time.monotonic)
    """When, by a clock that nobody sets."""
    acting: asyncio.Task[None] | None = None
    """The asyncio task that does it, while it may be cancelled."""
    reason: Outcome | None = None

    def end(self, reason: Outcome) -> None:
        if self.reason is None:
            self.reason = reason
            if self.acting is not None:
                self.acting.cancel()

    def fail(self, error: Exception) -> None:
        """End it for an error that came beside it."""
        self.end(Outcome.of_error(error))


@dataclass(slots=True)
class _Begun:
    """What a loop has begun of a job."""

    work: JobWork
    under_way: UnderWay
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Those of which the result is not written."""


class Runner:
    """Runs jobs on one worker."""

    def __init__(
        self,
        *,
        database: Database,
        loader: JobLoader,
        endpoints: Endpoints,
        pool: Pool,
        ledger: Ledger,
        events: Events,
        outputs: OutputStore,
        slots: int,
        output_limit: int,
    ) -> None:
        self._database = database
        self._loader = loader
        self._endpoints = endpoints
        self._pool = pool
        self._ledger = ledger
        self._events = events
        self._outputs = outputs
        self._slots = Slots(slots)
        self._output_limit = output_limit
        self._running: dict[UUID, _Running] = {}
        self._loops: dict[tuple[UUID, tuple[str, ...]], UnderWay] = {}
        """The loops that claim, by their jobs and the zones they serve."""
        self._doing: dict[asyncio.Task[None], UUID] = {}
        """What sees to each task until its result is written, and the task's job."""
        self._ended = asyncio.Event()
        self._stopping = False
        self._ending = False

    @property
    def running_jobs(self) -> set[UUID]:
        """The jobs of which tasks are under way here."""
        return {running.job_id for running in self._running.values()}

    @property
    def under_way(self) -> Counter[UUID]:
        """How many tasks of each job have begun here and are not written down as ended."""
        return Counter(self._doing.values())

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return self._slots.taken_all

    async def run_job(
        self,
        job_id: UUID,
        *,
        most: int | None = None,
        zones: Sequence[str] | None = None,
        message: str | None = None,
    ) -> None:
        """Claim and do the job's pending tasks until there are none, or the worker stops.

        `most` is how many at once, where that is less than the job's concurrency; `zones` are the network zones to
        take tasks of (None: all); `message` is the id of the message that brought the work, where one did. Where a
        loop claims for this job and these zones already, it goes on with so many more: one makes larger claims than
        several would.
        """
        async with self._database.read() as session:
            loaded = await self._loader.load(session, job_id)
        if loaded is None:
            return
        work, concurrency = loaded
        width = most or concurrency
        key = (job_id, tuple(zones or ()))
        while (going_on := self._loops.get(key)) is not None:
            going_on.widen(width)
            await going_on.claimed_all.wait()
        begun = _Begun(work, UnderWay(width, concurrency))
        try:
            self._loops[key] = begun.under_way
            await self._claim_all(begun, zones, message)
        finally:
            self._loops.pop(key, None)
            begun.under_way.claimed_all.set()
            self._ended.set()
        if begun.tasks:
            await asyncio.wait(begun.tasks)

    async def _claim_all(self, begun: "_Begun", zones: Sequence[str] | None, message: str | None) -> None:
        """Claim and begin the job's pending tasks until there are none, or the worker stops."""
        under_way = begun.under_way
        while not self._stopping:
            await under_way.room()
            async with self._slots.take(under_way.free) as slots:
                if self._stopping:
                    break
                begin = partial(self._begin, begun, slots)
                claimed = await self._ledger.claim(Wanted(begun.work.id, len(slots), zones, message, begin))
            if claimed.claims:
                continue
            if not claimed.more or under_way.idle:
                # Where others have taken all that may run at once, they go on with the rest.
                break
            await under_way.one_more()

    def _begin(self, begun: "_Begun", slots: list[object], claims: Sequence[Claim]) -> None:
        """Begin what was claimed: each task becomes a coroutine that ends it. Nothing here waits or fails."""
        looked_up = asyncio.ensure_future(self._look_up([claim.platform_id for claim in claims]))
        for claim in claims:
            running = self._running[claim.id] = _Running(claim.job_id)
            if self._ending:
                # It was being claimed when all was ended.
                running.end(Outcome.stopped())
            recorder = Recorder(
                Owner(claim.id, claim.job_id, claim.fence),
                outputs=self._outputs,
                events=self._events,
                limit=self._output_limit,
                on_failure=running.fail,
            )
            slot = slots.pop()
            begun.under_way.add(slot)
            task = asyncio.create_task(self._see_to(begun, claim, slot, running, looked_up, recorder))
            begun.tasks.add(task)
            task.add_done_callback(begun.tasks.discard)
            self._doing[task] = claim.job_id
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._doing[task]
        self._ended.set()

    async def _look_up(self, platform_ids: Sequence[UUID]) -> _Found:
        """The platforms and how to reach them. The tasks are claimed: a database that is away is waited for."""

        async def read() -> _Found:
            async with self._database.read() as session:
                rows = await contacts.by_ids(session, platform_ids)
                return rows, await self._endpoints.of_rows(session, rows.values())

        return await persist("platforms", read)

    async def _see_to(
        self,
        begun: "_Begun",
        claim: Claim,
        slot: object,
        running: _Running,
        looked_up: "asyncio.Future[_Found]",
        recorder: Recorder,
    ) -> None:
        """One task from its claim to its result. The slot is free again when the host is done with;
        the result is written in the background, in a group with others."""
        try:
            try:
                outcome = await self._outcome(begun.work, claim, running, looked_up, recorder)
            except Exception as error:
                outcome = Outcome.of_error(error)
            finally:
                took = time.monotonic() - running.begun
                self._let_go(begun, claim, slot)
            await self._write(claim, outcome, recorder, took)
        except Exception as error:
            log.error("a result was not written", task=str(claim.id), exc_info=error)
        finally:
            self._ledger.forget(claim.id)

    def _let_go(self, begun: "_Begun", claim: Claim, slot: object) -> None:
        """The host is done with."""
        begun.under_way.remove(slot)
        self._slots.give(slot)
        del self._running[claim.id]

    async def _outcome(
        self,
        work: JobWork,
        claim: Claim,
        running: _Running,
        looked_up: "asyncio.Future[_Found]",
        recorder: Recorder,
    ) -> Outcome:
        """What came of a task, whatever is raised."""
        context: Context | None = None
        try:
            platforms_found, endpoints = await asyncio.shield(looked_up)
            platform, endpoint = platforms_found.get(claim.platform_id), endpoints.get(claim.platform_id)
            if platform is None or endpoint is None:
                return Outcome.failed(
                    "platform_deleted",
                    f"The platform {claim.platform_name} was deleted before the task began.",
                )
            if isinstance(endpoint, TestumError):
                return Outcome.failed("credentials", endpoint.message)
            context = Context(
                work=work,
                endpoint=endpoint,
                plain=platform.shell == "plain",
                platform_id=platform.id,
                marker=str(claim.id),
                pool=self._pool,
                recorder=recorder,
                database=self._database,
                progress=Progress(
                    partial(self._ledger.sending, claim, endpoint.address), attempt=str(claim.position)
                ),
            )
            outcome = await self._act(context, running)
        except Exception as error:
            outcome = Outcome.of_error(error)
        sent = context is not None and context.progress.sent
        if not sent and outcome is running.reason and outcome.status is TaskStatus.LOST:
            return Outcome(TaskStatus.PENDING, sent=False)
        outcome.sent = sent
        if context is not None and (outcome is running.reason or context.may_still_run):
            outcome.details["termination"] = await self._terminate(context)
            if outcome.details["termination"]["state"] != "confirmed":
                outcome.details["termination"]["looking"] = not context.plain
                outcome.remains = Remains(to_be_ended=True, look=not context.plain)
        return outcome

    async def _act(self, context: Context, running: _Running) -> Outcome:
        """What came of the action, or why it was ended before its time."""
        if running.reason is not None:
            return running.reason
        running.acting = task = asyncio.current_task()
        try:
            outcome: Outcome = await context.work.action(context)
            return outcome
        except asyncio.CancelledError:
            if task is None or running.reason is None:
                raise
            task.uncancel()
            return running.reason
        finally:
            running.acting = None

    async def _terminate(self, context: Context) -> dict[str, object]:
        if not context.progress.sent:
            return {"state": "confirmed", "detail": "Nothing had been started on the host."}
        try:
            ended = await self._pool.terminate(
                context.endpoint,
                context.marker,
                grace=context.work.timeouts.grace,
                connect_timeout=context.work.timeouts.connect,
                begun=context.progress.begun,
                sent_at=context.progress.sent_at,
                attempt=context.progress.attempt,
                shell=context.progress.shell,
            )
        except Exception as error:
            log.exception("nobody could look at the host", task_id=context.marker)
            return {"state": "unconfirmed", "detail": f"testum failed ({type(error).__name__})."}
        told: dict[str, object] = {"state": ended.state, "detail": ended.detail}
        if ended.state != "confirmed" and not context.progress.begun:
            # That nothing bears its mark says nothing by itself.
            told["begun"] = False
        if ended.strays:
            told["strays"] = list(ended.strays)
        if ended.left:
            told["left"] = list(ended.left)
        return told

    async def _write(self, claim: Claim, outcome: Outcome, recorder: Recorder, took: float) -> None:
        result = Result(
            task_id=claim.id,
            job_id=claim.job_id,
            fence=claim.fence,
            status=outcome.status,
            exit_code=outcome.exit_code,
            exit_signal=outcome.exit_signal,
            error_code=outcome.error_code,
            error_message=outcome.error_message,
            details=outcome.details,
            sent=outcome.sent,
            remains=outcome.remains,
            duration=took,
        )
        recorded = await recorder.finish()
        # Where another has the task by now, how it ended counts all the same.
        taken_over = isinstance(recorder.failure, TakenOver)
        if recorder.failure is not None and not taken_over and outcome.error_code not in _OUTPUT_FAILED:
            lost = Outcome.of_error(recorder.failure)
            result.status = TaskStatus.FAILED
            result.error_code, result.error_message = lost.error_code, lost.error_message
        if recorded.truncated:
            result.details["output_truncated"] = True
        result.stdout, result.stderr = recorded.stdout, recorded.stderr
        result.output_frames, result.output_bytes = recorded.output_frames, recorded.output_bytes
        result.result_location = recorded.result_location
        result.shown, result.rest = recorded.frames, recorded.rest
        await self._ledger.finish(result)
        if recorded.frames is not None:
            await recorder.discard()

    async def stop_job(self, job_id: UUID) -> None:
        """End the job's tasks that are under way here; they end as cancelled."""
        for running in self._running.values():
            if running.job_id == job_id:
                running.end(Outcome.cancelled())

    async def lose(self, task_ids: Sequence[UUID]) -> None:
        """Tasks were taken from this worker, whose leases had run out: end what it still does of them. Nobody else
        could, and whoever runs them again must not find them running."""
        for task_id in task_ids:
            running = self._running.get(task_id)
            if running is not None:
                log.warning("a task was taken over; its command is ended", task=str(task_id))
                running.end(Outcome(TaskStatus.LOST, error_code="taken_over"))

    def retire(self) -> None:
        """Claim no more; what is under way goes on."""
        self._stopping = True

    async def idle(self) -> None:
        """Until nothing is under way or being claimed, and all results are written."""
        while self._doing or self._loops:
            self._ended.clear()
            await self._ended.wait()

    async def stop(self) -> None:
        """The worker stops: claim no more, and end what is under way, saying so in each task."""
        self.retire()
        self._ending = True
        for running in self._running.values():
            running.end(Outcome.stopped())
