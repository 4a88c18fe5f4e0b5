"""Looking things up: jobs, tasks and the audit log."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.permissions import AUDIT_READ, JOBS_READ, Actor
from testum.core.states import TaskStatus
from testum.db import audit, jobs, remains, reports, tasks
from testum.db.audit import AuditLog
from testum.db.jobs import Job
from testum.db.keys import SSHKey
from testum.db.paging import Page, PageRequest
from testum.db.reports import TaskRow
from testum.db.session import Database
from testum.db.tasks import Task
from testum.errors import NotFound
from testum.services.access import Gate

_COMMANDS_READ = 200
"""So many jobs are looked at for commands that were run before."""
_COMMANDS_SIZE = 64 * 1024
"""So many characters of them go into a page."""
_DEPLOYMENTS_AMONG = 2000
"""So many jobs are looked at for deployments of a key."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and how many of its tasks are in each status. `may_still_run`: of how many ended ones something may still be
    at work on its host."""

    job: Job
    counts: Mapping[TaskStatus, int]
    may_still_run: int = 0


class History:
    """Use cases that only read what happened."""

    def __init__(self, database: Database, gate: Gate) -> None:
        self._database = database
        self._gate = gate

    async def job(self, actor: Actor, job_id: UUID) -> JobView:
        """One job. Raises NotFound."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job", job_id)
        async with self._database.read() as session:
            job = await jobs.get(session, job_id)
            if job is None:
                raise NotFound("There is no such job.")
            (view,) = await views(session, [job])
        return view

    async def jobs_by_ids(self, actor: Actor, job_ids: Collection[UUID]) -> Sequence[Job]:
        """Those of the jobs that there are, in no order."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            return await jobs.get_many(session, job_ids)

    async def deployments(self, actor: Actor, key: SSHKey, *, limit: int = 10) -> list[JobView]:
        """The last jobs that deploy a key, newest first, as far as the newest jobs tell."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            ids = [
                job_id
                for job_id, created_at, parameters in await reports.newest_deployments(
                    session, among=_DEPLOYMENTS_AMONG
                )
                # Where a job names no keys it took all that there were.
                if (
                    str(key.id) in parameters["key_ids"]
                    if "key_ids" in parameters
                    else key.created_at <= created_at
                )
            ][:limit]
            found = {job.id: job for job in await jobs.get_many(session, ids)}
            return await views(session, [found[job_id] for job_id in ids])

    async def rows(self, actor: Actor, job_id: UUID) -> list[TaskRow]:
        """All tasks of a job in order, as a list shows them. Raises NotFound."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job", job_id)
        async with self._database.read() as session:
            if await jobs.get(session, job_id) is None:
                raise NotFound("There is no such job.")
            return await reports.rows_of_job(session, job_id)

    async def elapsed(self, actor: Actor, job: Job) -> float:
        """For how many seconds a job has been at work, or was; of one that has not begun, for how many it waits, or did."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            return await jobs.elapsed(session, job)

    async def usual_seconds(self, actor: Actor, job: Job) -> float | None:
        """How long the last successful jobs of the same kind, command and size took (their median); None where
        there was none."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            took = await reports.durations_like(session, job, limit=_COMMANDS_READ)
        return median(took) if took else None

    async def recent_commands(self, actor: Actor, *, limit: int = 100) -> list[str]:
        """The commands that were run last, the actor's own first, each once; together no more than a page bears."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            found = await reports.last_commands(session, limit=_COMMANDS_READ)
        own = [command for command, user in found if user == actor.username]
        others = [command for command, user in found if user != actor.username]
        recent: list[str] = []
        room = _COMMANDS_SIZE
        for command in list(dict.fromkeys(own + others))[:limit]:
            if len(command) <= room:
                recent.append(command)
                room -= len(command)
        return recent

    async def jobs(
        self,
        actor: Actor,
        request: PageRequest,
        *,
        status: str | None = None,
        type: str | None = None,
        q: str | None = None,
    ) -> Page[JobView]:
        """A page of the jobs, newest first; `q` is looked for in who started them and in their command."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            page = await jobs.find(session, request, status=status, type=type, q=q)
            found = await views(session, page.items)
        return Page(found, page.total, page.next, page.previous)

    async def task(self, actor: Actor, task_id: UUID) -> Task:
        """One task. Raises NotFound."""
        await self._gate.check(actor, JOBS_READ, "task.read", "task", task_id)
        async with self._database.read() as session:
            task = await tasks.get(session, task_id)
        if task is None:
            raise NotFound("There is no such task.")
        return task

    async def tasks(
        self,
        actor: Actor,
        request: PageRequest,
        *,
        status: str | None = None,
        type: str | None = None,
        platform_id: UUID | None = None,
        job_id: UUID | None = None,
        error_code: str | None = None,
        q: str | None = None,
    ) -> Page[Task]:
        """A page of the tasks: a job's in the order of its platforms, otherwise newest first."""
        await self._gate.check(actor, JOBS_READ, "task.read", "task")
        async with self._database.read() as session:
            return await tasks.find(
                session,
                request,
                status=status,
                type=type,
                platform_id=platform_id,
                job_id=job_id,
                error_code=error_code,
                q=q,
            )

    async def deployed_keys(self, actor: Actor, platform_id: UUID) -> list[str]:
        """The names of the keys that deployments put on a platform, or found there, as far as its last ones tell."""
        await self._gate.check(actor, JOBS_READ, "task.read", "task")
        async with self._database.read() as session:
            details = await reports.details_of(session, platform_id, type="deploy", limit=20)
        names = {name for told in details for name in (*told.get("added", ()), *told.get("present", ()))}
        return sorted(str(name) for name in names)

    async def audit(
        self,
        actor: Actor,
        request: PageRequest,
        *,
        user: str | None = None,
        action: str | None = None,
        object_type: str | None = None,
        object_id: str | None = None,
        outcome: str | None = None,
        q: str | None = None,
    ) -> Page[AuditLog]:
        """A page of the audit log, newest first."""
        await self._gate.check(actor, AUDIT_READ, "audit.read", "audit")
        async with self._database.read() as session:
            return await audit.find(
                session,
                request,
                user=user,
                action=action,
                object_type=object_type,
                object_id=object_id,
                outcome=outcome,
                q=q,
            )


async def views(session: AsyncSession, found: Sequence[Job]) -> list[JobView]:
    """How the jobs stand."""
    ids = [job.id for job in found]
    counts = await jobs.counts(session, found)
    left = await remains.counts(session, ids)
    return [JobView(job, counts[job.id], left.get(job.id, 0)) for job in found]
