"""The ledger: claims and results go into the database in groups, one transaction for all that came
while the last one was under way, so that the database does not limit a fan-out."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.positions import Sequencer
from testum.core.states import JobStatus
from testum.db import jobs, tasks
from testum.db.base import utc_now
from testum.db.session import Database
from testum.db.tasks import Claim, Result
from testum.errors import StorageFull
from testum.events.base import Change, Events, Hint
from testum.execution.batcher import Batcher

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 1.0
_GATHER_SECONDS = 0.03
"""A result may wait so long for others; a claim, for which a host's slot waits, takes along what there is."""


@dataclass(frozen=True, slots=True)
class _ClaimRequest:
    job_id: UUID
    limit: int


@dataclass(frozen=True, slots=True)
class _FinishRequest:
    result: Result
    positions: Sequence[int]


_Request = _ClaimRequest | _FinishRequest


class Ledger:
    """Writes for one worker. `close` it after the last result."""

    def __init__(
        self, database: Database, sequencer: Sequencer, events: Events, *, worker: str, lease_seconds: float
    ) -> None:
        self._database = database
        self._sequencer = sequencer
        self._events = events
        self._worker = worker
        self._lease = dt.timedelta(seconds=lease_seconds)
        self._closing = False
        self._batcher: Batcher[_Request, list[Claim]] = Batcher(self._settle, gather=_GATHER_SECONDS)

    async def close(self) -> None:
        """Write what there is; from now on a failing disk is not waited for."""
        self._closing = True
        await self._batcher.drain()

    async def claim(self, job_id: UUID, limit: int) -> list[Claim]:
        """Take up to `limit` pending tasks of the job. What is returned is committed as ours and running."""
        return await self._batcher.ask(_ClaimRequest(job_id, limit), urgent=True)

    async def finish(self, result: Result, positions: Sequence[int] = ()) -> None:
        """Write how a task ended; `positions` (and the result's own) are released with the commit.

        Where the task is not ours any more, nothing is changed.
        """
        await self._batcher.ask(_FinishRequest(result, positions))

    async def renew(self) -> None:
        """Say that this worker lives."""
        async with self._database.write() as session:
            await tasks.renew(session, self._worker, utc_now() + self._lease)

    async def _settle(self, requests: Sequence[_Request]) -> Sequence[list[Claim]]:
        """Write one group; on a failing disk, again and again: a result must not get lost."""
        complained = False
        while True:
            try:
                return await self._write(requests)
            except (OperationalError, StorageFull) as error:
                if self._closing:
                    raise
                if not complained:
                    log.error("cannot write results; trying on", error=str(error))
                    complained = True
                await asyncio.sleep(_RETRY_SECONDS)

    async def _write(self, requests: Sequence[_Request]) -> Sequence[list[Claim]]:
        finishes = [request for request in requests if isinstance(request, _FinishRequest)]
        reserved: list[tuple[UUID, int]] = []
        answers: list[list[Claim]] = []
        try:
            async with self._database.write() as session:
                if finishes:
                    refused = await tasks.finish(session, [request.result for request in finishes])
                    for result in refused:
                        log.warning(
                            "a result came too late: the task was taken over", task=str(result.task_id)
                        )
                for request in requests:
                    if isinstance(request, _ClaimRequest):
                        answers.append(await self._claim(session, request, reserved))
                    else:
                        answers.append([])
                ended = await jobs.settle(
                    session, dict.fromkeys(request.result.job_id for request in finishes)
                )
        finally:
            for job_id, position in reserved:
                self._sequencer.release(job_id, position)
        self._tell(finishes, answers, ended)
        return answers

    def _tell(
        self, finishes: Sequence[_FinishRequest], answers: Sequence[list[Claim]], ended: dict[UUID, JobStatus]
    ) -> None:
        for request in finishes:
            result = request.result
            for position in (*request.positions, result.position):
                self._sequencer.release(result.job_id, position)
            self._events.publish(Hint(result.job_id, result.task_id, Change.STATUS))
        for claims in answers:
            for claim in claims:
                self._events.publish(Hint(claim.job_id, claim.id, Change.STATUS))
        for job_id in ended:
            self._events.publish(Hint(job_id, None, Change.STATUS))

    async def _claim(
        self, session: AsyncSession, request: _ClaimRequest, reserved: list[tuple[UUID, int]]
    ) -> list[Claim]:
        waiting = await jobs.pending_tasks(session, request.job_id, request.limit)
        positions = [self._sequencer.reserve(request.job_id) for _ in waiting]
        reserved += [(request.job_id, position) for position in positions]
        return await tasks.claim(
            session, waiting, positions, worker=self._worker, lease=utc_now() + self._lease
        )
