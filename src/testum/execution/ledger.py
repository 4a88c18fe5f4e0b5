"""The ledger: claims and results go into the database in groups, one transaction for all that came
while the last one was under way, so that the database does not limit a fan-out."""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from uuid import UUID

import structlog
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.states import JobStatus, TaskStatus, platform_state
from testum.db import claims, jobs, leases, platform_states, remains
from testum.db.base import utc_now
from testum.db.batcher import Batcher
from testum.db.claims import Claim
from testum.db.positions import Positions
from testum.db.results import Result
from testum.db.session import Database, lease_now
from testum.errors import StorageFull, StorageUnavailable
from testum.events.base import Change, Events, Hint
from testum.output.base import TakenOver

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 1.0
_GATHER_SECONDS = 0.03
"""A result may wait so long for others; a claim, for which a host's slot waits, takes along what there is."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many of a job's tasks may be claimed, and on whose behalf.

    `zones` are those that are served (None: all); `message` is the id of the message that brought the work, where one
    did. `begin` is called with what was claimed as soon as that is committed, whether or not whoever asked still waits:
    from then on it answers for the tasks' ends. It must not fail.
    """

    job_id: UUID
    limit: int
    zones: Sequence[str] | None = None
    message: str | None = None
    begin: Callable[[Sequence[Claim]], None] = lambda claims: None


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was claimed. `more`: there is more to claim, but not while so many of the job's tasks run."""

    claims: Sequence[Claim] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class Sending:
    """A task is about to be sent to this account of a host."""

    task_id: UUID
    fence: int
    account: str


class _NotClosed(Exception):
    """Another has the task, and has not ended it."""


_Request = Wanted | Result | Sending


@dataclass(slots=True)
class _Written:
    """What one transaction did, to be told of after its commit."""

    answers: list[Claimed | Exception] = field(default_factory=list)
    refused: list[Result] = field(default_factory=list)
    late: list[Result] = field(default_factory=list)
    """Those of the refused that say how a task ended that was taken for lost."""
    ended: dict[UUID, JobStatus] = field(default_factory=dict)


class Ledger:
    """Writes for one worker. `close` it after the last result."""

    def __init__(
        self, database: Database, positions: Positions, events: Events, *, worker: str, lease_seconds: float
    ) -> None:
        self._database = database
        self._positions = positions
        self._events = events
        self._worker = worker
        self._lease = dt.timedelta(seconds=lease_seconds)
        self._closing = False
        self._held: dict[UUID, Claim] = {}
        """The tasks that are claimed and not written as ended."""
        self._ended: set[UUID] = set()
        """Those of them that have ended, and wait to be written."""
        self._batcher: Batcher[_Request, Claimed] = Batcher(self._settle, gather=_GATHER_SECONDS)

    async def close(self) -> None:
        """Write what there is; from now on a failing disk is not waited for."""
        self._closing = True
        await self._batcher.drain()

    def holds(self, task_id: UUID) -> bool:
        """Whether the task is being done here."""
        return task_id in self._held

    async def claim(self, wanted: Wanted) -> Claimed:
        """Take pending tasks of a job. What is returned is committed as ours and running."""
        return await self._batcher.ask(wanted, urgent=True)

    async def sending(self, claim: Claim, account: str) -> None:
        """Write that a task is about to be sent to this account of a host: whoever finds it without this may do it again.
        Raises TakenOver where it is not ours any more."""
        await self._batcher.ask(Sending(claim.id, claim.fence, account), urgent=True)

    async def finish(self, result: Result) -> None:
        """Write how a task ended, or that it is given back. Where it is not ours any more, because this process was taken
        for dead, it counts if the task was closed as lost, and was sent by us."""
        self._ended.add(result.task_id)
        with suppress(_NotClosed):
            await self._batcher.ask(result)
            return
        # Whoever has taken the task over is about to close it.
        closing = asyncio.get_running_loop().time() + 2 * self._lease.total_seconds()
        while not self._closing and asyncio.get_running_loop().time() < closing:
            await asyncio.sleep(_RETRY_SECONDS)
            with suppress(_NotClosed):
                await self._batcher.ask(result)
                return
        log.warning("a result came too late: another has the task", task=str(result.task_id))

    async def renew(self) -> list[UUID]:
        """Say that this worker lives. Tasks that were taken from it are returned: their leases had run out."""
        held = list(self._held)
        if not held:
            return []
        async with self._database.write() as session:
            lease = await lease_now(session) + self._lease
            gone = await leases.renew(session, self._worker, held, lease)
        # Those that ended meanwhile are nobody's any more either.
        return [task_id for task_id in gone if task_id in self._held]

    async def _settle(self, requests: Sequence[_Request]) -> Sequence[Claimed | Exception]:
        """Write one group; on a failing disk or a database that is away, again and again: a result must not get
        lost. Where the database refuses it for another reason, one by one: what is wrong with one is not the others'
        fault."""
        complained = False
        while True:
            try:
                written = await self._write(requests)
            except (OperationalError, StorageFull, StorageUnavailable) as error:
                if self._closing:
                    raise
                if not complained:
                    log.error("cannot write results; trying on", error=str(error))
                    complained = True
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception as error:
                if len(requests) > 1:
                    return [answer for request in requests for answer in await self._settle([request])]
                return [await self._refused(requests[0], error)]
            else:
                self._tell(requests, written)
                return written.answers

    async def _refused(self, request: _Request, error: Exception) -> Claimed | Exception:
        """A request that cannot be written as it is. A result is written without all that its host had a say in."""
        if not isinstance(request, Result):
            return error
        log.error("a result cannot be written", task=str(request.task_id), exc_info=error)
        bare = replace(
            request,
            status=TaskStatus.FAILED,
            exit_code=None,
            exit_signal=None,
            error_code="internal",
            error_message="What came of it could not be stored; the server's log says more.",
            details={},
            stdout=None,
            stderr=None,
        )
        if request != bare:
            return (await self._settle([bare]))[0]
        self.forget(request.task_id)
        return error

    def forget(self, task_id: UUID) -> None:
        """Nobody here does the task any more. Where its end could not be written, its lease runs out and the sweep ends
        it: it must not be kept alive by nobody."""
        self._held.pop(task_id, None)
        self._ended.discard(task_id)

    async def _write(self, requests: Sequence[_Request]) -> _Written:
        results = [request for request in requests if isinstance(request, Result)]
        reserved: list[tuple[UUID, int]] = []
        written = _Written()
        try:
            async with self._database.write() as session:
                free = await self._reserve(session, requests, reserved)
                for result in results:
                    free[result.job_id] += result.width
                    result.position = free[result.job_id]
                if results:
                    written.refused = await jobs.end_tasks(session, results)
                    written.late = await remains.settle_lost(session, written.refused)
                    await self._note_states(session, results, written)
                answers = await self._answer(session, requests, free, written)
                over = self._perhaps_over(results, answers)
                written.ended = await jobs.settle(session, over)
        finally:
            for job_id, position in reserved:
                self._positions.release(job_id, position)
        return written

    async def _answer(
        self,
        session: AsyncSession,
        requests: Sequence[_Request],
        free: dict[UUID, int],
        written: _Written,
    ) -> list[Claimed]:
        """Do what the requests ask for apart from results, and answer all of them; what was claimed is returned."""
        sent = {
            request.task_id: (request.fence, request.account)
            for request in requests
            if isinstance(request, Sending)
        }
        not_ours = await claims.sending(session, sent) if sent else set()
        unsettled = {result.task_id for result in written.refused if result not in written.late}
        running = await claims.running(session, unsettled) if unsettled else set()
        claimed: list[Claimed] = []
        for request in requests:
            answer: Claimed | Exception = Claimed()
            if isinstance(request, Wanted):
                answer = await self._claim(session, request, free, claimed)
                claimed.append(answer)
            elif isinstance(request, Sending) and request.task_id in not_ours:
                answer = TakenOver(
                    "The task was taken over before it was sent; nothing was run on the platform."
                )
            elif request.task_id in running:
                answer = _NotClosed()
            written.answers.append(answer)
        return claimed

    async def _note_states(self, session: AsyncSession, results: Sequence[Result], written: _Written) -> None:
        """Keep with the platforms what the ends of these tasks say about them."""
        gone = {result.task_id for result in written.refused}
        told = {
            self._held[result.task_id].platform_id: state
            for result in results
            if result.task_id not in gone
            and (state := platform_state(result.status, result.error_code)) is not None
        }
        if told:
            await platform_states.set_states(session, told, utc_now())

    def _perhaps_over(self, results: Sequence[Result], answers: Sequence[Claimed]) -> list[UUID]:
        """The jobs of the results that may have ended with them: none of which other tasks are under way here. Where
        those were taken over meanwhile, whoever ends them, or the next sweep, settles the job."""
        ended = {result.task_id for result in results}
        going_on = {claim.job_id for claim in self._held.values() if claim.id not in ended}
        going_on.update(claim.job_id for answer in answers for claim in answer.claims)
        return [
            job_id for job_id in dict.fromkeys(result.job_id for result in results) if job_id not in going_on
        ]

    async def _reserve(
        self, session: AsyncSession, requests: Sequence[_Request], reserved: list[tuple[UUID, int]]
    ) -> dict[UUID, int]:
        """Reserve positions for all that may be written; for each job, the position before the first of them.

        Jobs in the order of their ids: that is the order in which everybody locks them.
        """
        widths: dict[UUID, int] = {}
        for request in requests:
            if isinstance(request, Sending):
                continue
            width = request.width if isinstance(request, Result) else request.limit
            widths[request.job_id] = widths.get(request.job_id, 0) + width
        free: dict[UUID, int] = {}
        for job_id, width in sorted(widths.items()):
            last = await self._positions.reserve(session, job_id, width)
            reserved.append((job_id, last))
            free[job_id] = last - width
        return free

    async def _claim(
        self, session: AsyncSession, wanted: Wanted, free: dict[UUID, int], answers: Sequence[Claimed]
    ) -> Claimed:
        """Claim for one loop; `answers` are those of the others in the same transaction."""
        here = [*self._held.values(), *(claim for answer in answers for claim in answer.claims)]
        running = sum(claim.job_id == wanted.job_id and claim.id not in self._ended for claim in here)
        pending = await jobs.pending_tasks(
            session,
            wanted.job_id,
            wanted.limit,
            worker=self._worker,
            running=running,
            zones=wanted.zones,
        )
        if not pending.tasks:
            return Claimed(more=pending.more)
        first = free[wanted.job_id] + 1
        free[wanted.job_id] += len(pending.tasks)
        taken = await claims.claim(
            session,
            pending.tasks,
            range(first, first + len(pending.tasks)),
            worker=self._worker,
            lease=self._lease,
            message=wanted.message,
        )
        return Claimed(taken, pending.more)

    def _tell(self, requests: Sequence[_Request], written: _Written) -> None:
        for result in written.late:
            log.warning(
                "a lost task turned out to have ended", task=str(result.task_id), status=result.status
            )
        for request in requests:
            if isinstance(request, Result):
                self.forget(request.task_id)
                self._events.publish(Hint(request.job_id, request.task_id, Change.STATUS))
        for request, answer in zip(requests, written.answers, strict=True):
            if isinstance(answer, Exception):
                continue
            for claim in answer.claims:
                self._held[claim.id] = claim
            if isinstance(request, Wanted) and answer.claims:
                request.begin(answer.claims)
            for claim in answer.claims:
                self._events.publish(Hint(claim.job_id, claim.id, Change.STATUS))
        for job_id in [*written.ended, *dict.fromkeys(result.job_id for result in written.late)]:
            self._events.publish(Hint(job_id, None, Change.STATUS))
