"""From rows to what the API shows of them."""

from collections.abc import Sequence
from dataclasses import asdict

from testum.core.inventory import Problem
from testum.core.probes import Probed
from testum.core.states import UNFINISHED, JobStatus, PlatformState, TaskStatus
from testum.db.audit import AuditLog
from testum.db.jobs import Job, seconds_taken
from testum.db.platforms import Platform
from testum.db.tasks import Task
from testum.db.users import User
from testum.services.history import JobView
from testum.services.import_plans import Plan
from testum.services.messages import count_json
from testum.services.once import Started
from testum.web.api.schemas.account import UserOut
from testum.web.api.schemas.history import AuditOut, TaskOut
from testum.web.api.schemas.imports import ChangeOut, LineOut, PlanOut, StepOut
from testum.web.api.schemas.jobs import AcceptedOut, Counts, JobOut
from testum.web.api.schemas.platforms import PlatformOut, PlatformTestOut, ShownKeyOut


def user(row: User) -> UserOut:
    """An account."""
    return UserOut(
        id=row.id, username=row.username, role=row.role, must_change_password=row.must_change_password
    )


def probed(answer: Probed) -> PlatformTestOut:
    """What came of trying a connection."""
    shown = answer.host_key
    return PlatformTestOut(
        success=answer.error_code is None,
        latency_ms=answer.latency_ms,
        host_key=ShownKeyOut.model_validate(shown, from_attributes=True) if shown else None,
        server_version=answer.server_version,
        error_code=answer.error_code,
        error_message=answer.error_message,
    )


def platform(row: Platform) -> PlatformOut:
    """A platform."""
    return PlatformOut(
        id=row.id,
        name=row.name,
        host=row.host,
        port=row.port,
        username=row.username,
        auth_method=row.auth_method,
        has_password=row.encrypted_password is not None,
        has_private_key=row.encrypted_private_key is not None or row.key_id is not None,
        has_passphrase=row.encrypted_passphrase is not None,
        key_id=row.key_id,
        jump_platform_id=row.jump_platform_id,
        known_host_fingerprint=row.known_host_fingerprint,
        known_host_keys=[record.public_key for record in row.host_keys],
        host_key_policy=row.host_key_policy,
        shell=row.shell,
        old_algorithms=row.old_algorithms.split(),
        zone=row.zone,
        description=row.description,
        tags=row.tags,
        facts=row.facts,
        facts_at=row.facts_at,
        state=PlatformState(row.state),
        state_at=row.state_at,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def job(view: JobView) -> JobOut:
    """A job with its counts."""
    row: Job = view.job
    return JobOut(
        id=row.id,
        job_id=row.id,
        type=row.type,
        status=JobStatus(row.status),
        targets=row.targets,
        command=row.parameters.get("command"),
        parameters=row.parameters,
        timeout=row.timeout,
        idle_timeout=row.idle_timeout,
        concurrency=row.concurrency,
        task_count=row.task_count,
        counts=Counts(**count_json(view.counts)),
        may_still_run=view.may_still_run,
        rerun_of=row.rerun_of,
        created_by=row.created_by,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        duration_seconds=seconds_taken(row),
        cancel_requested_at=row.cancel_requested_at,
        cancel_requested_by=row.cancel_requested_by,
    )


def accepted(started: Started) -> AcceptedOut:
    """A job that was accepted."""
    row = started.job
    number = "1 platform" if row.task_count == 1 else f"{row.task_count} platforms"
    return AcceptedOut(
        id=row.id,
        job_id=row.id,
        task_id=started.task_id,
        # As it was then: a request that is sent again gets the same answer.
        status=JobStatus.PENDING,
        task_count=row.task_count,
        message=f"{row.type} was accepted for {number}.",
    )


def task(row: Task, *, brokered: bool) -> TaskOut:
    """A task. Where no broker has brought it, whose message's id it would have, its own id stands for that."""
    may_come = brokered and row.status in UNFINISHED
    return TaskOut(
        id=row.id,
        celery_task_id=row.celery_task_id or (None if may_come else str(row.id)),
        job_id=row.job_id,
        type=row.type,
        platform_id=row.platform_id,
        platform_name=row.platform_name,
        status=TaskStatus(row.status),
        exit_code=row.exit_code,
        exit_signal=row.exit_signal,
        result_location=row.result_location,
        stdout=row.stdout,
        stderr=row.stderr,
        output_bytes=row.output_bytes,
        output_expired_at=row.output_expired_at,
        error_code=row.error_code,
        error_message=row.error_message,
        metadata=row.details,
        may_still_run=row.may_still_run,
        started_at=row.started_at,
        finished_at=row.finished_at,
        duration_seconds=row.duration_seconds,
        created_at=row.created_at,
    )


def audit(row: AuditLog) -> AuditOut:
    """An audit entry."""
    return AuditOut(
        id=row.id,
        user=row.user,
        action=row.action,
        object_type=row.object_type,
        object_id=row.object_id,
        outcome=row.outcome,
        address=row.address,
        meta=row.meta,
        timestamp=row.timestamp,
    )


def plan(plan: Plan, *, dry_run: bool) -> PlanOut:
    """What an import does."""
    return PlanOut(
        dry_run=dry_run,
        **{kind: plan.number(kind) for kind in ("add", "change", "same", "problem")},
        steps=[
            StepOut(
                name=step.name,
                line=step.line,
                kind=step.kind,  # type: ignore[arg-type] # one of them
                address=step.address,
                via=step.via,
                tags=list(step.tags),
                changes=[
                    ChangeOut(field=name, old=old, new=new) for name, (old, new) in step.changes.items()
                ],
                message=step.message,
            )
            for step in plan.steps
        ],
        problems=_lines(plan.problems),
        notes=_lines(plan.notes),
    )


_MOST_LINES = 1000


def _lines(found: Sequence[Problem]) -> list[LineOut]:
    """The first of them, and how many more there are."""
    shown = [LineOut(**asdict(problem)) for problem in found[:_MOST_LINES]]
    if more := len(found) - len(shown):
        shown.append(LineOut(line=0, message=f"and {more} more", name="", file=""))
    return shown
