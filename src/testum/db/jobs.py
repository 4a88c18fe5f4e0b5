"""Jobs: one request to do one thing on one or many platforms."""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVarTuple
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Select, String, Text, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, aliased, mapped_column

from testum.core.states import FINAL_JOB, UNFINISHED, JobStatus, TaskStatus, job_status
from testum.db import paging
from testum.db.base import Base, new_id, utc_now
from testum.db.bulk import read_ids
from testum.db.claims import PendingTask
from testum.db.paging import Page, PageRequest
from testum.db.platforms import Platform
from testum.db.prepared import Prepared
from testum.db.results import Result, finish, give_back, never_begun
from testum.db.session import database_now, lease_now
from testum.db.targets import Target
from testum.db.tasks import Task

Columns = TypeVarTuple("Columns")


class Job(Base):
    """A job. `parameters` holds what is not secret; `sealed_environment` belongs to the record
    `sealed_for`, which for a rerun is the first job of the line. `position` is the last one given out where
    many processes write (db/positions.py)."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_status", "status", "id"),
        Index("ix_jobs_created", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    type: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16), default=JobStatus.PENDING)
    targets: Mapped[dict[str, Any]] = mapped_column()
    parameters: Mapped[dict[str, Any]] = mapped_column()
    sealed_environment: Mapped[str | None] = mapped_column(Text)
    sealed_for: Mapped[UUID | None] = mapped_column()
    timeout: Mapped[float | None] = mapped_column()
    idle_timeout: Mapped[float | None] = mapped_column()
    concurrency: Mapped[int] = mapped_column()
    task_count: Mapped[int] = mapped_column()
    position: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    rerun_of: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    created_by: Mapped[str] = mapped_column(String(150))
    created_at: Mapped[dt.datetime] = mapped_column(default=utc_now)
    started_at: Mapped[dt.datetime | None] = mapped_column()
    finished_at: Mapped[dt.datetime | None] = mapped_column()
    began_steady_at: Mapped[dt.datetime | None] = mapped_column()
    """When it began by a clock that nobody sets meanwhile (`lease_now`); None before its start, and of older jobs."""
    duration_seconds: Mapped[float | None] = mapped_column()
    """How long it took by that clock, once it is over; None of older jobs, see `seconds_taken`."""
    cancel_requested_at: Mapped[dt.datetime | None] = mapped_column()
    cancel_requested_by: Mapped[str | None] = mapped_column(String(150))
    final_counts: Mapped[dict[str, Any] | None] = mapped_column()
    """How many of its tasks ended in each status, once all have: so many need not be counted again."""


async def get(session: AsyncSession, job_id: UUID) -> Job | None:
    """The job with this id."""
    return await session.get(Job, job_id)


async def get_many(session: AsyncSession, job_ids: Collection[UUID]) -> Sequence[Job]:
    """Those of the jobs that there are, in no order."""
    return (await session.scalars(select(Job).where(Job.id.in_(job_ids)))).all()


async def find(
    session: AsyncSession,
    request: PageRequest,
    *,
    status: str | None = None,
    type: str | None = None,
    q: str | None = None,
) -> Page[Job]:
    """A page of the jobs, newest first; `q` is looked for in who started them and in their command."""
    statement = select(Job)
    if status is not None:
        statement = statement.where(Job.status == status)
    if type is not None:
        statement = statement.where(Job.type == type)
    if q:
        command = Job.parameters["command"].as_string()
        statement = statement.where(
            Job.created_by.icontains(q, autoescape=True) | command.icontains(q, autoescape=True)
        )
    return await paging.fetch(
        session,
        statement,
        request,
        sorts={"created_at": Job.created_at, "type": Job.type, "status": Job.status},
        key=Job.id,
        default_sort="-created_at",
    )


async def counts(session: AsyncSession, found: Iterable[Job]) -> dict[UUID, dict[TaskStatus, int]]:
    """For each job, how many of its tasks are in each status."""
    result: dict[UUID, dict[TaskStatus, int]] = {}
    still_open: list[UUID] = []
    for job in found:
        result[job.id] = {}
        if job.final_counts is not None and job.status in FINAL_JOB:
            result[job.id] = {TaskStatus(status): number for status, number in job.final_counts.items()}
        else:
            still_open.append(job.id)
    if still_open:
        result |= await _count(session, still_open)
    return result


_COUNTS = (
    select(Task.job_id, Task.status, func.count())
    .where(Task.job_id.in_(bindparam("jobs", expanding=True)))
    .group_by(Task.job_id, Task.status)
)


async def _count(session: AsyncSession, job_ids: Sequence[UUID]) -> dict[UUID, dict[TaskStatus, int]]:
    rows = await session.execute(_COUNTS, {"jobs": job_ids})
    result: dict[UUID, dict[TaskStatus, int]] = {}
    for job_id, status, number in rows:
        result.setdefault(job_id, {})[TaskStatus(status)] = number
    return result


_UNFINISHED = select(Task.id).where(Task.job_id == bindparam("of_job"), Task.status.in_(UNFINISHED)).limit(1)


async def settle(session: AsyncSession, job_ids: Iterable[UUID]) -> dict[UUID, JobStatus]:
    """Bring the jobs' status in line with their tasks'; the ones that thereby ended are returned.

    Call it in the transaction that changed the tasks.
    """
    ended: dict[UUID, JobStatus] = {}
    for job_id in job_ids:
        if await session.scalar(_UNFINISHED, {"of_job": job_id}) is not None:
            continue
        job = await session.get(Job, job_id)
        if job is None or job.status in FINAL_JOB:
            continue
        await _end(session, job)
        ended[job_id] = JobStatus(job.status)
    return ended


async def resettle(session: AsyncSession, job_ids: Iterable[UUID]) -> None:
    """Bring ended jobs in line with their tasks, of which some turned out to have ended otherwise."""
    for job_id in job_ids:
        job = await session.get(Job, job_id, with_for_update=True)
        if job is not None and job.status in FINAL_JOB:
            await _end(session, job)


async def _end(session: AsyncSession, job: Job) -> None:
    """All of the job's tasks are over: it ends as the sum of them, now."""
    number = (await _count(session, [job.id])).get(job.id, {})
    job.final_counts = {status.value: tasks for status, tasks in number.items()}
    job.status = job_status(number, cancel_requested=job.cancel_requested_at is not None)
    now = await database_now(session)
    # The clock may have been set back since.
    job.finished_at = max(now, job.started_at or now)
    job.duration_seconds = await _since_start(session, job)


async def elapsed(session: AsyncSession, job: Job) -> float:
    """For how many seconds a job has been at work, or was; of one that has not begun, for how many it waits, or did."""
    if job.status not in FINAL_JOB:
        since_start = await _since_start(session, job)
        return (
            since_start if since_start is not None else _seconds(job.created_at, await database_now(session))
        )
    taken = seconds_taken(job)
    return taken if taken is not None else _seconds(job.created_at, job.finished_at or job.created_at)


async def _since_start(session: AsyncSession, job: Job) -> float | None:
    """None where it has not begun."""
    if job.began_steady_at is not None:
        return _seconds(job.began_steady_at, await lease_now(session))
    return None if job.started_at is None else _seconds(job.started_at, await database_now(session))


def _seconds(start: dt.datetime, end: dt.datetime) -> float:
    """Not less than none: the clock may have been set back between them."""
    return max((end - start).total_seconds(), 0.0)


def seconds_taken(timed: Any) -> float | None:
    """How long a job or a task took, or a row with its `started_at`, `finished_at` and `duration_seconds`; None where it
    did not begin or is not over. Of those that ended under an older release, which measured nothing, moments say it."""
    measured: float | None = timed.duration_seconds
    if measured is not None or timed.started_at is None or timed.finished_at is None:
        return measured
    return _seconds(timed.started_at, timed.finished_at)


async def end_tasks(session: AsyncSession, results: Sequence[Result]) -> list[Result]:
    """Write what came of tasks, in the transaction that holds their jobs: that they ended, or are given back. Those
    results are returned that were refused, because their task is not the writer's any more."""
    back = [result for result in results if result.status is TaskStatus.PENDING]
    left = [result for result in results if result.remains is not None and not result.remains.to_be_ended]
    if back or left:
        cancelled = set(await cancel_requested(session, [result.job_id for result in [*back, *left]]))
        for result in left:
            assert result.remains is not None
            result.remains = replace(result.remains, to_be_ended=result.job_id in cancelled)
        for result in back:
            if result.job_id in cancelled:
                # Nobody would claim it again.
                never_begun(result)
        back = [result for result in back if result.status is TaskStatus.PENDING]
        await give_back(session, back)
    ended = [result for result in results if result.status is not TaskStatus.PENDING]
    return await finish(session, ended) if ended else []


_others = aliased(Task)
_pending = (
    select(
        Task.id,
        Task.platform_id,
        Task.platform_name,
        Task.fence,
        Job.status,
        Job.concurrency,
        select(func.count())
        .select_from(_others)
        .where(
            _others.job_id == bindparam("of_job"),
            _others.status == TaskStatus.RUNNING,
            _others.worker_id != bindparam("worker"),
        )
        .scalar_subquery(),
    )
    .join(Job, Job.id == Task.job_id)
    .where(
        Task.job_id == bindparam("of_job"),
        Task.status == TaskStatus.PENDING,
        Job.cancel_requested_at.is_(None),
    )
    .order_by(Task.ordinal)
    .limit(bindparam("most"))
)
_PENDING = Prepared(_pending)
_PENDING_IN_ZONES = Prepared(_pending.where(Task.zone.in_(bindparam("zones", expanding=True))))


@dataclass(frozen=True, slots=True)
class Pending:
    """Tasks to be claimed now. `more`: there would have been others, but enough of the job's tasks run."""

    tasks: Sequence[PendingTask]
    more: bool


async def pending_tasks(
    session: AsyncSession, job_id: UUID, limit: int, *, worker: str, running: int, zones: Sequence[str] | None
) -> Pending:
    """Up to `limit` tasks that nobody has claimed, in order, of the zones named (None: of all), but no more than
    the job's concurrency allows beside the `running` ones of this worker and those of others. To be claimed in this
    transaction, which must hold the job's row where there are several workers: the job's first claim starts the
    job. None of a job that was cancelled."""
    parameters = {"of_job": job_id, "most": limit, "worker": worker}
    # Of the connection: a session would prepare each statement for objects that are not asked for.
    connection = await session.connection()
    if zones is None:
        rows = await _PENDING.rows(connection, parameters)
    else:
        rows = await _PENDING_IN_ZONES.rows(connection, {**parameters, "zones": list(zones)})
    if not rows:
        return Pending((), more=False)
    *_, status, concurrency, of_others = rows[0]
    allowed = max(concurrency - running - of_others, 0)
    if status == JobStatus.PENDING and allowed:
        await session.execute(
            update(Job)
            .where(Job.id == job_id, Job.status == JobStatus.PENDING)
            .values(
                status=JobStatus.RUNNING,
                started_at=await database_now(session),
                began_steady_at=await lease_now(session),
            )
        )
    return Pending(
        [PendingTask(row[0], job_id, *row[1:4]) for row in rows[:allowed]], more=len(rows) > allowed
    )


async def waiting(session: AsyncSession) -> list[tuple[UUID, int, Mapping[str, int]]]:
    """The jobs that have tasks to be claimed and fewer running than they may: with their concurrency and the
    number of such tasks in each network zone."""
    pending = (
        select(Task.job_id, Task.zone, func.count().label("number"))
        .join(Job, Job.id == Task.job_id)
        .where(Job.status.not_in(FINAL_JOB), Task.status == TaskStatus.PENDING)
        .where(Job.cancel_requested_at.is_(None))
        .group_by(Task.job_id, Task.zone)
    )
    counted = pending.subquery()
    running = (
        select(func.count())
        .where(Task.job_id == Job.id, Task.status == TaskStatus.RUNNING)
        .correlate(Job)
        .scalar_subquery()
    )
    rows = await session.execute(
        select(Job.id, Job.concurrency, counted.c.zone, counted.c.number)
        .join(counted, counted.c.job_id == Job.id)
        .where(running < Job.concurrency)
        .order_by(Job.id)
    )
    found: dict[UUID, tuple[int, dict[str, int]]] = {}
    for job_id, concurrency, zone, number in rows:
        found.setdefault(job_id, (concurrency, {}))[1][zone] = number
    return [(job_id, concurrency, zones) for job_id, (concurrency, zones) in found.items()]


def _left(selected: Select[*Columns], job_id: UUID) -> Select[*Columns]:
    return (
        selected.select_from(Task)
        .join(Platform, Platform.id == Task.platform_id)
        .where(Task.job_id == job_id)
    )


async def targets_left(session: AsyncSession, job_id: UUID, statuses: Collection[TaskStatus]) -> list[Target]:
    """The platforms, in order, that a job's tasks in these statuses are of and that are still there."""
    left = _left(select(Platform.id, Platform.name, Platform.zone), job_id).where(Task.status.in_(statuses))
    return [Target(*row) for row in await session.execute(left.order_by(Task.ordinal))]


async def ids_left(session: AsyncSession, job_id: UUID) -> list[str]:
    """The ids, as 32 hexadecimal digits and in order, of a job's platforms that are still there."""
    return await read_ids(session, _left(select(Task.platform_id), job_id).order_by(Task.ordinal))


async def count_left(session: AsyncSession, job_id: UUID, statuses: Collection[TaskStatus]) -> int:
    """How many `targets_left` would return."""
    counted = _left(select(func.count()), job_id).where(Task.status.in_(statuses))
    return await session.scalar(counted) or 0


async def unfinished(session: AsyncSession, limit: int) -> Sequence[Job]:
    """The newest jobs that are not over."""
    found: list[Job] = []
    for status in (JobStatus.RUNNING, JobStatus.PENDING):
        if len(found) < limit:
            found += await newest(session, status, limit - len(found))
    return found


async def newest(session: AsyncSession, status: JobStatus, limit: int) -> Sequence[Job]:
    """The newest jobs with a status."""
    return list(
        await session.scalars(select(Job).where(Job.status == status).order_by(Job.id.desc()).limit(limit))
    )


async def unsettled(session: AsyncSession) -> list[UUID]:
    """The jobs that are not final though all their tasks are."""
    unfinished = select(Task.id).where(Task.job_id == Job.id, Task.status.in_(UNFINISHED)).exists()
    return list(
        await session.scalars(
            select(Job.id).where(Job.status.not_in(FINAL_JOB), ~unfinished).order_by(Job.id)
        )
    )


async def cancel_requested(session: AsyncSession, job_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the jobs that someone has cancelled."""
    return list(
        await session.scalars(select(Job.id).where(Job.id.in_(job_ids), Job.cancel_requested_at.is_not(None)))
    )
