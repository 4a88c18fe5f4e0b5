"""How things stand as a whole: what runs, what failed, and the tasks of the last day by hour and outcome."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from testum.core.permissions import Actor, Permission
from testum.core.states import JobStatus, PlatformState
from testum.db import jobs, keys, platforms, reports
from testum.db.base import utc_now
from testum.db.jobs import Job
from testum.db.platforms import Platform
from testum.db.reports import Failure
from testum.db.session import Database
from testum.services.access import Gate
from testum.services.jobs import JobView

HOURS = 24
_SETTLED = dt.timedelta(minutes=5)
"""An hour that is over for so long changes no more: a task's end is written within seconds of it."""
TROUBLE = (
    PlatformState.HOST_KEY_CHANGED,
    PlatformState.UNREACHABLE,
    PlatformState.AUTH_FAILED,
    PlatformState.HOST_KEY_UNKNOWN,
)
"""The states that somebody should look at, worst first."""


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour, from `start`, and how many tasks ended in it by status."""

    start: dt.datetime
    ended: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Now:
    """How things stand. `running` and `waiting` count tasks."""

    platforms: Mapping[str, int]
    keys: int
    running: int
    waiting: int
    jobs: Sequence[JobView]


class Overview:
    """Use cases of the dashboard."""

    def __init__(self, database: Database, gate: Gate) -> None:
        self._database = database
        self._gate = gate
        self._settled: dict[dt.datetime, Counter[str]] = {}

    async def now(self, actor: Actor, *, most_jobs: int = 8) -> Now:
        """What there is and what is under way."""
        await self._gate.check(actor, Permission.JOBS_READ, "overview.read", "overview")
        async with self._database.read() as session:
            unfinished = await jobs.unfinished(session, most_jobs)
            counts = await jobs.counts(session, [job.id for job in unfinished])
            in_work = await reports.count_unfinished(session)
            return Now(
                await platforms.count_by_state(session),
                await keys.count(session),
                in_work.get("running", 0),
                in_work.get("pending", 0),
                [JobView(job, counts[job.id]) for job in unfinished],
            )

    async def hours(self, actor: Actor) -> list[Hour]:
        """The last day, hour by hour, oldest first, with the present one."""
        await self._gate.check(actor, Permission.JOBS_READ, "overview.read", "overview")
        now = utc_now()
        current = now.replace(minute=0, second=0, microsecond=0)
        wanted = [current - dt.timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
        missing = [hour for hour in wanted if hour not in self._settled]
        if missing:
            async with self._database.read() as session:
                found = await reports.ended_by_hour(session, min(missing))
        else:
            found = {}
        hours = [Hour(hour, self._settled.get(hour) or found.get(hour, Counter())) for hour in wanted]
        self._settled = {
            hour.start: Counter(hour.ended)
            for hour in hours
            if now - hour.start - dt.timedelta(hours=1) > _SETTLED
        }
        return hours

    async def failed_jobs(self, actor: Actor, *, limit: int = 6) -> list[JobView]:
        """The jobs that failed last, newest first."""
        await self._gate.check(actor, Permission.JOBS_READ, "overview.read", "overview")
        async with self._database.read() as session:
            found: Sequence[Job] = await jobs.newest(session, JobStatus.FAILED, limit)
            counts = await jobs.counts(session, [job.id for job in found])
        return [JobView(job, counts[job.id]) for job in found]

    async def first_failures(self, actor: Actor, job_ids: Sequence[UUID]) -> dict[UUID, Failure]:
        """For jobs that failed, where first and why."""
        await self._gate.check(actor, Permission.JOBS_READ, "overview.read", "overview")
        async with self._database.read() as session:
            found = {job_id: await reports.first_failure(session, job_id) for job_id in job_ids}
        return {job_id: failure for job_id, failure in found.items() if failure and failure.error_code}

    async def last_errors(self, actor: Actor, platform_ids: Sequence[UUID]) -> dict[UUID, str]:
        """For platforms that are in trouble, why their last failed task did."""
        await self._gate.check(actor, Permission.JOBS_READ, "overview.read", "overview")
        async with self._database.read() as session:
            found = {
                platform_id: await reports.last_error(session, platform_id) for platform_id in platform_ids
            }
        return {platform_id: code for platform_id, code in found.items() if code is not None}

    async def troubled(self, actor: Actor, *, limit: int = 8) -> list[Platform]:
        """Platforms that somebody should look at, worst first."""
        await self._gate.check(actor, Permission.PLATFORMS_READ, "overview.read", "overview")
        async with self._database.read() as session:
            found: list[Platform] = []
            for state in TROUBLE:
                if len(found) < limit:
                    found += await platforms.in_states(session, [state], limit - len(found))
        return found
