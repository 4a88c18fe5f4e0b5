"""Looking things up: tasks and the audit log."""

from uuid import UUID

from sqlalchemy import select

from testum.core.actions import JobType
from testum.core.permissions import Actor, Permission
from testum.db import paging, reports, tasks
from testum.db.audit import AuditLog
from testum.db.paging import Page, PageRequest
from testum.db.session import Database
from testum.db.tasks import Task
from testum.errors import NotFound
from testum.services.access import Gate


class History:
    """Use cases that only read what happened."""

    def __init__(self, database: Database, gate: Gate) -> None:
        self._database = database
        self._gate = gate

    async def task(self, actor: Actor, task_id: UUID) -> Task:
        """One task. Raises NotFound."""
        await self._gate.check(actor, Permission.JOBS_READ, "task.read", "task", task_id)
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
        await self._gate.check(actor, Permission.JOBS_READ, "task.read", "task")
        statement = select(Task)
        wanted = {
            Task.status: status,
            Task.type: type,
            Task.platform_id: platform_id,
            Task.job_id: job_id,
            Task.error_code: error_code,
        }
        for column, value in wanted.items():
            if value is not None:
                statement = statement.where(column == value)
        if q:
            statement = statement.where(Task.platform_name.icontains(q, autoescape=True))
        async with self._database.read() as session:
            return await paging.fetch(
                session,
                statement,
                request,
                sorts={
                    "created_at": Task.created_at,
                    "platform_name": Task.platform_name,
                    "status": Task.status,
                    "ordinal": Task.ordinal,
                    "id": Task.id,
                },
                key=Task.id,
                default_sort="ordinal" if job_id is not None else "-created_at",
            )

    async def deployed_keys(self, actor: Actor, platform_id: UUID) -> list[str]:
        """The names of the keys that deployments put on a platform, or found there, as far as its last ones tell."""
        await self._gate.check(actor, Permission.JOBS_READ, "task.read", "task")
        async with self._database.read() as session:
            details = await reports.details_of(session, platform_id, type=JobType.DEPLOY, limit=20)
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
        await self._gate.check(actor, Permission.AUDIT_READ, "audit.read", "audit")
        statement = select(AuditLog)
        wanted = {
            AuditLog.user: user,
            AuditLog.action: action,
            AuditLog.object_type: object_type,
            AuditLog.object_id: object_id,
            AuditLog.outcome: outcome,
        }
        for column, value in wanted.items():
            if value is not None:
                statement = statement.where(column == value)
        if q:
            statement = statement.where(
                AuditLog.user.icontains(q, autoescape=True) | AuditLog.action.icontains(q, autoescape=True)
            )
        async with self._database.read() as session:
            return await paging.fetch(
                session,
                statement,
                request,
                sorts={"timestamp": AuditLog.timestamp},
                key=AuditLog.id,
                default_sort="-timestamp",
            )
