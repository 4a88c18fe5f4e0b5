"""How things stand as a whole: what runs, what failed, and the tasks of the last day by hour and outcome."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.permissions import JOBS_READ, PLATFORMS_READ, Actor
from testum.core.states import TROUBLE, JobStatus, PlatformState
from testum.db import jobs, keys, platform_states, reports
from testum.db.base import utc_now
from testum.db.platforms import Platform
from testum.db.reports import Failure
from testum.db.session import Database
from testum.services.access import Gate
from testum.services.history import JobView, views

HOURS = 24
_SETTLED = dt.timedelta(minutes=5)
"""An hour that is over for so long changes no more: a task's end is written within seconds of it."""
_STATES = (PlatformState.OK, *TROUBLE, PlatformState.UNKNOWN)
"""The order in which states are told."""


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour, from `start`, and how many tasks ended in it by status."""

    start: dt.datetime
    ended: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand at one moment: its parts never contradict one another. `running` and `waiting` count tasks."""

    platforms: Mapping[str, int]
    """How many are in each state that any is in, in the order in which states are told."""
    keys: int
    running: int
    waiting: int
    jobs: Sequence[JobView]
    """The newest that are not over."""
    hours: Sequence[Hour]
    """The last day, oldest first, with the present hour."""
    failures: Sequence[JobView]
    """The jobs that failed last, newest first."""
    reasons: Mapping[UUID, Failure]
    """For those of them, where first and why."""
    trouble: Sequence[Platform]
    """Platforms that somebody should look at, worst first."""
    causes: Mapping[UUID, str]
    """For those of them, why their last failed task did."""


class Overview:
    """Use cases of the dashboard."""

    def __init__(self, database: Database, gate: Gate) -> None:
        self._database = database
        self._gate = gate
        self._settled: dict[dt.datetime, Counter[str]] = {}
        self._reasons: dict[UUID, Failure | None] = {}

    async def read(
        self, actor: Actor, *, most_jobs: int = 8, most_failures: int = 6, most_trouble: int = 8
    ) -> Standing:
        """How things stand now."""
        for permission in (JOBS_READ, PLATFORMS_READ):
            await self._gate.check(actor, permission, "overview.read", "overview")
        # One session is one view of the data.
        async with self._database.read() as session:
            by_state = await platform_states.count_by_state(session)
            in_work = await reports.count_unfinished(session)
            failures = await views(session, await jobs.newest(session, JobStatus.FAILED, most_failures))
            trouble = await _troubled(session, most_trouble)
            return Standing(
                platforms={state: by_state[state] for state in _STATES if by_state.get(state)},
                keys=await keys.count(session),
                running=in_work.get("running", 0),
                waiting=in_work.get("pending", 0),
                jobs=await views(session, await jobs.unfinished(session, most_jobs)),
                hours=await self._hours(session),
                failures=failures,
                reasons=await self._find_reasons(session, failures),
                trouble=trouble,
                causes=await reports.last_errors(session, [platform.id for platform in trouble]),
            )

    async def _find_reasons(self, session: AsyncSession, failures: Sequence[JobView]) -> dict[UUID, Failure]:
        """Where first and why these jobs failed. They are over: what was found once stays so."""
        found = {
            job.id: self._reasons[job.id]
            if job.id in self._reasons
            else await reports.first_failure(session, job.id)
            for job in (view.job for view in failures)
        }
        self._reasons = found
        return {job_id: failure for job_id, failure in found.items() if failure and failure.error_code}

    async def _hours(self, session: AsyncSession) -> list[Hour]:
        now = utc_now()
        current = now.replace(minute=0, second=0, microsecond=0)
        wanted = [current - dt.timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
        missing = [hour for hour in wanted if hour not in self._settled]
        found = await reports.ended_by_hour(session, min(missing)) if missing else {}
        hours = [Hour(hour, self._settled.get(hour) or found.get(hour, Counter())) for hour in wanted]
        self._settled = {
            hour.start: Counter(hour.ended)
            for hour in hours
            if now - hour.start - dt.timedelta(hours=1) > _SETTLED
        }
        return hours


async def _troubled(session: AsyncSession, limit: int) -> list[Platform]:
    found: list[Platform] = []
    for state in TROUBLE:
        if len(found) < limit:
            found += await platform_states.in_states(session, [state], limit - len(found))
    return found
