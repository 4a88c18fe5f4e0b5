"""The runner: does a job's tasks, as many at once as the job and the process allow."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from testum.core.actions import JobType
from testum.core.secrets import Opener
from testum.core.states import TaskStatus
from testum.db import platforms
from testum.db.claims import Claim, Result
from testum.db.platforms import Platform
from testum.db.session import Database
from testum.errors import StorageFull, TestumError
from testum.events.base import Events
from testum.execution.actions import ACTIONS
from testum.execution.endpoints import Endpoints
from testum.execution.ledger import Ledger, Wanted
from testum.execution.outcome import Context, JobWork, Outcome
from testum.execution.persist import persist
from testum.execution.recorder import OutputLimit, Recorder
from testum.execution.slots import Slots, UnderWay
from testum.execution.work import load_work
from testum.output.base import OutputStore, Owner, TakenOver
from testum.ssh import Endpoint, NotBegun, Pool, SSHError

log = structlog.get_logger(__name__)

_LEAVES_PROCESSES = frozenset(
    {"timeout", "idle_timeout", "connection_lost", "output_limit", "storage_full", "taken_over"}
)
"""Errors after which something may still run on the host."""


@dataclass(slots=True)
class _Running:
    """A task under way. `reason` is set when it is to be ended before its time."""

    job_id: UUID
    acting: asyncio.Task[None] | None = None
    """The asyncio task that does it, while it may be cancelled."""
    reason: Outcome | None = None

    def end(self, reason: Outcome) -> None:
        if self.reason is None:
            self.reason = reason
            if self.acting is not None:
                self.acting.cancel()


class Runner:
    """Runs jobs on one worker."""

    def __init__(
        self,
        *,
        database: Database,
        opener: Opener,
        endpoints: Endpoints,
        pool: Pool,
        ledger: Ledger,
        events: Events,
        outputs: OutputStore,
        slots: int,
        output_limit: int,
        connect_timeout: float,
        grace: float = 5.0,
    ) -> None:
        self._database = database
        self._opener = opener
        self._endpoints = endpoints
        self._pool = pool
        self._ledger = ledger
        self._events = events
        self._outputs = outputs
        self._slots = Slots(slots)
        self._output_limit = output_limit
        self._connect_timeout = connect_timeout
        self._grace = grace
        self._running: dict[UUID, _Running] = {}
        self._loops: dict[tuple[UUID, tuple[str, ...]], UnderWay] = {}
        """The loops that claim, by their jobs and the zones they serve."""
        self._ended = asyncio.Event()
        self._stopping = False

    @property
    def running_jobs(self) -> set[UUID]:
        """The jobs of which tasks are under way here."""
        return {running.job_id for running in self._running.values()}

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
            loaded = await load_work(session, self._opener, job_id, self._connect_timeout, self._grace)
        if loaded is None:
            return
        work, concurrency = loaded
        results: set[asyncio.Task[None]] = set()
        width = most or concurrency
        key = (job_id, tuple(zones or ()))
        while (going_on := self._loops.get(key)) is not None:
            going_on.widen(width)
            await going_on.claimed_all.wait()
        under_way = self._loops[key] = UnderWay(width, concurrency)
        try:
            await self._claim_all(work, under_way, results, zones, message)
        finally:
            del self._loops[key]
            under_way.claimed_all.set()
        await under_way.drain()
        if results:
            await asyncio.wait(results)

    async def _claim_all(
        self,
        work: JobWork,
        under_way: UnderWay,
        results: set[asyncio.Task[None]],
        zones: Sequence[str] | None,
        message: str | None,
    ) -> None:
        """Claim and begin the job's pending tasks until there are none, or the worker stops."""
        job_id = work.id
        while not self._stopping:
            await under_way.room()
            taken = await self._slots.take(under_way.free)
            if self._stopping:
                self._slots.give(taken)
                break
            claimed = await self._ledger.claim(Wanted(job_id, taken, zones, message))
            self._slots.give(taken - len(claimed.claims))
            if claimed.claims:
                for claim in claimed.claims:
                    self._running[claim.id] = _Running(job_id)
                await self._begin(work, claimed.claims, under_way, results)
            elif claimed.more and not under_way.idle:
                await under_way.one_more()
            else:
                # Where others have taken all that may run at once, they go on with the rest.
                break

    async def _begin(
        self,
        work: JobWork,
        claims: Sequence[Claim],
        under_way: UnderWay,
        results: set[asyncio.Task[None]],
    ) -> None:
        rows, endpoints = await self._look_up([claim.platform_id for claim in claims])
        for claim in claims:
            platform, endpoint = rows.get(claim.platform_id), endpoints.get(claim.platform_id)
            under_way.add(asyncio.create_task(self._do(work, claim, platform, endpoint, results)))

    async def _look_up(
        self, platform_ids: Sequence[UUID]
    ) -> tuple[Mapping[UUID, Platform], Mapping[UUID, Endpoint | TestumError]]:
        """The platforms and how to reach them. The tasks are claimed: a database that is away is waited for."""

        async def read() -> tuple[Mapping[UUID, Platform], Mapping[UUID, Endpoint | TestumError]]:
            async with self._database.read() as session:
                rows = await platforms.by_ids(session, platform_ids)
                return rows, await self._endpoints.of_rows(session, rows.values())

        return await persist("platforms", read)

    async def _do(
        self,
        work: JobWork,
        claim: Claim,
        platform: Platform | None,
        endpoint: Endpoint | TestumError | None,
        results: set[asyncio.Task[None]],
    ) -> None:
        """One task from its claim to its result. The slot is free again when the host is done with;
        the result is written in the background, in a group with others."""
        recorder = Recorder(
            Owner(claim.id, claim.job_id, claim.fence),
            outputs=self._outputs,
            events=self._events,
            limit=self._output_limit,
        )
        try:
            if platform is None or endpoint is None:
                outcome = Outcome.failed(
                    "platform_deleted",
                    f"The platform {claim.platform_name} was deleted before the task began.",
                )
            elif isinstance(endpoint, TestumError):
                outcome = Outcome.failed("credentials", endpoint.message)
            else:
                context = Context(
                    work=work,
                    endpoint=endpoint,
                    plain=platform.shell == "plain",
                    platform_id=platform.id,
                    marker=str(claim.id),
                    pool=self._pool,
                    recorder=recorder,
                    database=self._database,
                )
                outcome = await self._act(context, self._running[claim.id])
        finally:
            del self._running[claim.id]
            self._ended.set()
            self._slots.give(1)
        writing = asyncio.create_task(self._write(claim, outcome, recorder))
        results.add(writing)
        writing.add_done_callback(results.discard)

    async def _act(self, context: Context, running: _Running) -> Outcome:
        """Do the action and, where it may have left processes on the host, end them and look."""
        if running.reason is None:
            running.acting = task = asyncio.current_task()
            try:
                outcome = await self._guarded(context)
            except asyncio.CancelledError:
                if task is None or running.reason is None:
                    raise
                task.uncancel()
                outcome = running.reason
            finally:
                running.acting = None
        else:
            outcome = running.reason
        if outcome is running.reason or outcome.error_code in _LEAVES_PROCESSES:
            outcome.details["termination"] = await self._terminate(context)
        return outcome

    async def _guarded(self, context: Context) -> Outcome:
        """The action's outcome, whatever it raises."""
        try:
            return await ACTIONS[JobType(context.work.spec.type)](context)
        except NotBegun as error:
            return Outcome.failed(error.code, error.message, exit_code=error.status)
        except SSHError as error:
            details = {}
            if error.host_key is not None:
                key = error.host_key
                details["presented_host_key"] = {"public_key": key.public_key, "fingerprint": key.fingerprint}
            return Outcome.failed(error.code, error.message, details=details)
        except (StorageFull, OutputLimit, TakenOver) as error:
            return Outcome.failed(error.code, error.message)
        except Exception as error:
            log.exception("a task failed within testum", task_id=context.marker)
            return Outcome.failed(
                "internal", f"testum failed ({type(error).__name__}); the server's log says more."
            )

    async def _terminate(self, context: Context) -> dict[str, str]:
        if not context.may_run:
            return {"state": "confirmed", "detail": "Nothing had been started on the host."}
        ended = await self._pool.terminate(
            context.endpoint,
            context.marker,
            grace=self._grace,
            connect_timeout=self._connect_timeout,
            begun=context.begun,
        )
        return {"state": ended.state, "detail": ended.detail}

    async def _write(self, claim: Claim, outcome: Outcome, recorder: Recorder) -> None:
        recorded = await recorder.finish()
        if recorder.failure is not None and outcome.error_code != "storage_full":
            error = recorder.failure
            code = error.code if isinstance(error, TestumError) else "internal"
            outcome = replace(
                outcome,
                status=TaskStatus.FAILED,
                error_code=code,
                error_message=str(error)
                if isinstance(error, TestumError)
                else "The output could not be stored.",
            )
        if recorded.truncated:
            outcome.details["output_truncated"] = True
        await self._ledger.finish(
            Result(
                task_id=claim.id,
                job_id=claim.job_id,
                fence=claim.fence,
                status=outcome.status,
                exit_code=outcome.exit_code,
                exit_signal=outcome.exit_signal,
                error_code=outcome.error_code,
                error_message=outcome.error_message,
                details=outcome.details,
                stdout=recorded.stdout,
                stderr=recorded.stderr,
                output_frames=recorded.output_frames,
                output_bytes=recorded.output_bytes,
                result_location=recorded.result_location,
                shown=recorded.frames,
                rest=recorded.rest,
            )
        )
        if recorded.frames is not None:
            await recorder.discard()

    async def stop_job(self, job_id: UUID) -> None:
        """End the job's tasks that are under way here; they end as cancelled."""
        for running in self._running.values():
            if running.job_id == job_id:
                running.end(
                    Outcome(
                        TaskStatus.CANCELLED, error_code="cancelled", error_message="Cancelled while it ran."
                    )
                )

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
        """Until nothing is under way."""
        while self._running:
            self._ended.clear()
            await self._ended.wait()

    async def stop(self) -> None:
        """The worker stops: claim no more, and end what is under way, saying so in each task."""
        self.retire()
        for running in self._running.values():
            running.end(
                Outcome(
                    TaskStatus.LOST,
                    error_code="worker_stopped",
                    error_message="The server was stopped while the task ran; it was ended on the host.",
                )
            )
