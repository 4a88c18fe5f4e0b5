"""What pages read about jobs and tasks: the rows of a long list, sums by status and hour, what was run lately."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.programs import RunCommand
from testum.core.states import FINAL, UNFINISHED, JobStatus, TaskStatus
from testum.db.jobs import Job, seconds_taken
from testum.db.tasks import Task

_NEWEST = 20
"""So many of a platform's tasks are looked at for its last failure."""


class TaskRow(NamedTuple):
    """A task as a list shows it."""

    id: UUID
    platform_id: UUID
    platform_name: str
    status: str
    exit_code: int | None
    error_code: str | None
    output_frames: int
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    duration_seconds: float | None


async def rows_of_job(session: AsyncSession, job_id: UUID) -> list[TaskRow]:
    """All tasks of a job in order, as a list shows them."""
    rows = await session.execute(
        select(*(getattr(Task, name) for name in TaskRow._fields))
        .where(Task.job_id == job_id)
        .order_by(Task.ordinal)
    )
    return [TaskRow(*row) for row in rows]


async def last_commands(session: AsyncSession, *, limit: int) -> list[tuple[str, str]]:
    """The commands of the newest jobs that ran one, newest first, and who ran each."""
    rows = await session.execute(
        select(Job.type, Job.parameters, Job.created_by)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(limit)
    )
    return [
        (command, user)
        for job_type, parameters, user in rows
        if job_type == RunCommand.kind and isinstance(command := parameters.get("command"), str)
    ]


async def newest_deployments(
    session: AsyncSession, *, among: int
) -> list[tuple[UUID, dt.datetime, Mapping[str, Any]]]:
    """The deployments among the newest jobs, newest first: their ids, when they were asked for, and with what."""
    newest = select(Job.id, Job.type).order_by(Job.created_at.desc(), Job.id.desc()).limit(among).subquery()
    rows = await session.execute(
        select(Job.id, Job.created_at, Job.parameters)
        .join(newest, newest.c.id == Job.id)
        .where(newest.c.type == "deploy")
        .order_by(Job.created_at.desc(), Job.id.desc())
    )
    return [(job_id, created_at, parameters) for job_id, created_at, parameters in rows]


async def durations_like(session: AsyncSession, job: Job, *, limit: int) -> list[float]:
    """The seconds that jobs took which did the same on as many platforms and succeeded, among the newest."""
    rows = await session.execute(
        select(
            Job.id,
            Job.type,
            Job.task_count,
            Job.status,
            Job.parameters,
            Job.started_at,
            Job.finished_at,
            Job.duration_seconds,
        )
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(limit)
    )
    return [
        took
        for row in rows
        if row.status == JobStatus.SUCCESS
        and row.id != job.id
        and (row.type, row.task_count, row.parameters) == (job.type, job.task_count, job.parameters)
        and (took := seconds_taken(row)) is not None
    ]


async def count_unfinished(session: AsyncSession) -> dict[str, int]:
    """How many tasks are not over, by status."""
    rows = await session.execute(
        select(Task.status, func.count()).where(Task.status.in_(UNFINISHED)).group_by(Task.status)
    )
    return {row[0]: row[1] for row in rows}


async def ended_by_hour(session: AsyncSession, since: dt.datetime) -> dict[dt.datetime, Counter[str]]:
    """How many tasks ended in each hour since the beginning of one, by status."""
    connection = await session.connection()
    if connection.dialect.name == "sqlite":
        hour = func.strftime("%Y-%m-%dT%H", Task.finished_at)
    else:
        hour = func.to_char(func.timezone("UTC", Task.finished_at), 'YYYY-MM-DD"T"HH24')
    found: dict[dt.datetime, Counter[str]] = {}
    for status in sorted(FINAL):
        # One status after the other: each is a stretch of the index.
        rows = await session.execute(
            select(hour, func.count()).where(Task.status == status, Task.finished_at >= since).group_by(hour)
        )
        for text_of_hour, number in rows:
            start = dt.datetime.fromisoformat(f"{text_of_hour}:00:00+00:00")
            found.setdefault(start, Counter())[status] = number
    return found


class Failure(NamedTuple):
    """A task that did not succeed, and why."""

    platform_name: str
    error_code: str | None


async def first_failure(session: AsyncSession, job_id: UUID) -> Failure | None:
    """The first task of a job, in its order, that failed, or else was lost."""
    for status in (TaskStatus.FAILED, TaskStatus.LOST):
        # One status after the other: the index has its tasks in order.
        rows = await session.execute(
            select(Task.platform_name, Task.error_code)
            .where(Task.job_id == job_id, Task.status == status)
            .order_by(Task.ordinal)
            .limit(1)
        )
        if row := rows.first():
            return Failure(*row)
    return None


async def last_errors(session: AsyncSession, platform_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Why the last failed task of each of these few platforms did; looked for among its newest tasks alone."""
    if not platform_ids:
        return {}
    # One statement for all of them: each by itself costs more than what it reads.
    statement = select(*(_last_error(platform_id).scalar_subquery() for platform_id in platform_ids))
    row = (await session.execute(statement)).one()
    return {platform_id: code for platform_id, code in zip(platform_ids, row, strict=True) if code}


def _last_error(platform_id: UUID) -> Select[tuple[str | None]]:
    newest = (
        select(Task.id, Task.status, Task.error_code)
        .where(Task.platform_id == platform_id)
        .order_by(Task.id.desc())
        .limit(_NEWEST)
        .subquery()
    )
    return (
        select(newest.c.error_code)
        .where(newest.c.status == TaskStatus.FAILED)
        .order_by(newest.c.id.desc())
        .limit(1)
    )


async def details_of(
    session: AsyncSession, platform_id: UUID, *, type: str, limit: int
) -> list[dict[str, Any]]:
    """What the platform's last successful tasks of a type tell beside their output, newest first."""
    return list(
        await session.scalars(
            select(Task.details)
            .where(Task.platform_id == platform_id, Task.type == type, Task.status == TaskStatus.SUCCESS)
            .order_by(Task.id.desc())
            .limit(limit)
        )
    )
