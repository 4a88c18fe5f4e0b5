"""The ledger: claims and results go into the database in groups, one transaction for all that came
while the last one was under way, so that the database does not limit a fan-out (group commit: Gawlick
and Kinkade, "Varieties of Concurrency Control in IMS/VS Fast Path", 1985)."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.positions import Sequencer
from testum.core.states import TaskStatus
from testum.db import jobs, tasks
from testum.db.base import utc_now
from testum.db.session import Database
from testum.db.tasks import Claim, Result
from testum.events.base import Change, Events, Hint

log = structlog.get_logger(__name__)

_GROUP = 500
_RETRY_SECONDS = 1.0


@dataclass(slots=True)
class _ClaimRequest:
    job_id: UUID
    limit: int
    done: asyncio.Future[list[Claim]]


@dataclass(slots=True)
class _FinishRequest:
    result: Result
    positions: Sequence[int]
    done: asyncio.Future[bool]


@dataclass(slots=True)
class _Group:
    claims: list[_ClaimRequest] = field(default_factory=list)
    finishes: list[_FinishRequest] = field(default_factory=list)


class Ledger:
    """Writes for one worker. `start` it, and `close` it after the last result."""

    def __init__(
        self, database: Database, sequencer: Sequencer, events: Events, *, worker: str, lease_seconds: float
    ) -> None:
        self._database = database
        self._sequencer = sequencer
        self._events = events
        self._worker = worker
        self._lease = dt.timedelta(seconds=lease_seconds)
        self._group = _Group()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="ledger")

    async def close(self) -> None:
        """Write what there is, then stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def claim(self, job_id: UUID, limit: int) -> list[Claim]:
        """Take up to `limit` pending tasks of the job. What is returned is committed as ours and running."""
        request = _ClaimRequest(job_id, limit, asyncio.get_running_loop().create_future())
        self._group.claims.append(request)
        self._wake.set()
        return await request.done

    async def finish(self, result: Result, positions: Sequence[int] = ()) -> bool:
        """Write how a task ended; `positions` (and the result's own) are released with the commit.

        False: the task is not ours any more, and nothing was changed.
        """
        request = _FinishRequest(result, positions, asyncio.get_running_loop().create_future())
        self._group.finishes.append(request)
        self._wake.set()
        return await request.done

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._group.claims or self._group.finishes:
                group, self._group = self._split()
                await self._settle(group)
            if self._closing:
                return

    def _split(self) -> tuple[_Group, _Group]:
        """A group of bounded size, and what stays for the next."""
        now = _Group(self._group.claims, self._group.finishes[:_GROUP])
        return now, _Group([], self._group.finishes[_GROUP:])

    async def _settle(self, group: _Group) -> None:
        """Write one group; on a failing disk, again and again: a result must not get lost."""
        complained = False
        while True:
            try:
                await self._write(group)
            except OperationalError as error:
                if not complained:
                    log.error("cannot write results; trying on", error=str(error.orig))
                    complained = True
                if self._closing:
                    self._fail(group, error)
                    return
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception as error:
                log.exception("a group of results was refused")
                self._fail(group, error)
                return
            else:
                return

    @staticmethod
    def _fail(group: _Group, error: Exception) -> None:
        waiting: list[asyncio.Future[Any]] = [request.done for request in group.claims]
        waiting += [request.done for request in group.finishes]
        for done in waiting:
            if not done.done():
                done.set_exception(error)

    async def _write(self, group: _Group) -> None:
        reserved: list[tuple[UUID, int]] = []
        answers: list[list[Claim]] = []
        try:
            async with self._database.write() as session:
                refused: list[Result] = []
                if group.finishes:
                    refused = await tasks.finish(session, [request.result for request in group.finishes])
                for asked in group.claims:
                    answers.append(await self._claim(session, asked, reserved))  # noqa: PERF401 - one after the other
                ended = await jobs.settle(
                    session, dict.fromkeys(request.result.job_id for request in group.finishes)
                )
        finally:
            for job_id, position in reserved:
                self._sequencer.release(job_id, position)
        gone = {result.task_id for result in refused}
        for request in group.finishes:
            result = request.result
            for position in (*request.positions, result.position):
                self._sequencer.release(result.job_id, position)
            self._events.publish(Hint(result.job_id, result.task_id, Change.STATUS))
            if not request.done.done():
                request.done.set_result(result.task_id not in gone)
        for job_id in ended:
            self._events.publish(Hint(job_id, None, Change.STATUS))
        for asked, claims in zip(group.claims, answers, strict=True):
            for claim in claims:
                self._events.publish(Hint(claim.job_id, claim.id, Change.STATUS))
            if not asked.done.done():
                asked.done.set_result(claims)

    async def _claim(
        self, session: AsyncSession, request: _ClaimRequest, reserved: list[tuple[UUID, int]]
    ) -> list[Claim]:
        job = await jobs.get(session, request.job_id)
        if job is None or job.cancel_requested_at is not None:
            return []
        waiting = await tasks.pending(session, request.job_id, request.limit)
        positions = [self._sequencer.reserve(request.job_id) for _ in waiting]
        reserved += [(request.job_id, position) for position in positions]
        claims = await tasks.claim(
            session, waiting, positions, worker=self._worker, lease=utc_now() + self._lease
        )
        if claims and job.status == TaskStatus.PENDING:
            await jobs.mark_started(session, request.job_id)
        return claims

    async def renew(self) -> None:
        """Say that this worker lives."""
        async with self._database.write() as session:
            await tasks.renew(session, self._worker, utc_now() + self._lease)
