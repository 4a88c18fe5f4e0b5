"""Claims: who may do a task, and what came of it (docs/decisions/0010)."""

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Integer,
    Interval,
    String,
    Update,
    Uuid,
    case,
    func,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from testum.core.frames import Piece, encode_row
from testum.core.states import TaskStatus
from testum.db.base import SafeText, UtcDateTime, insert_into
from testum.db.many import Given, UpdateEach, chunks
from testum.db.session import database_now, lease_now, on_sqlite
from testum.db.tasks import Task, TaskOutput


class PendingTask(NamedTuple):
    """A task that nobody has claimed, as much as a claim needs."""

    id: UUID
    job_id: UUID
    platform_id: UUID
    platform_name: str
    fence: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do one task: what its owner needs, and the fence that proves the right."""

    id: UUID
    job_id: UUID
    platform_id: UUID
    platform_name: str
    fence: int
    position: int


@dataclass(frozen=True, slots=True)
class Remains:
    """Something of a task may be at work on its host. `to_be_ended`: it is to be ended, where it is found. `look`: whether
    somebody is to look there; where nothing can be seen that is of no use."""

    to_be_ended: bool
    look: bool = True


@dataclass(slots=True)
class Result:
    """How a task ended, as it goes into its row, or (`pending`) that it is given back, because nothing of it was sent. Of a
    small output, `shown` is what could be read before, encoded, and `rest` what comes after that; the row takes both."""

    task_id: UUID
    job_id: UUID
    fence: int
    status: TaskStatus
    exit_code: int | None = None
    exit_signal: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    stdout: str | None = None
    stderr: str | None = None
    duration: float | None = None
    """Seconds from the claim to the end; None where nobody was there at both."""
    output_frames: int = 0
    output_bytes: int = 0
    result_location: str | None = None
    shown: bytes | None = None
    rest: Sequence[Piece] = ()
    sent: bool = True
    """Whether something may have gone to the host. If not, what came of it says nothing once another has the task."""
    remains: Remains | None = None
    position: int = 0
    """The last of the `width` positions that it got."""

    @property
    def width(self) -> int:
        """How many positions the end takes, with the output that becomes readable with it."""
        return len(self.rest) + ENDING_WIDTH

    @property
    def frames(self) -> bytes | None:
        """The whole of a small output, encoded."""
        if self.shown is None:
            return None
        return self.shown + encode_row(self.rest, self.position - ENDING_WIDTH)


ENDING_WIDTH = 2
"""Positions that a task's end takes: one for `error`, where there is one, and the last for `done`."""


_INT, _INT_OF_TASK = attrgetter("int"), attrgetter("task_id.int")
"""What ids are sorted by: comparing integers is quicker than comparing UUIDs, and the order is the same."""


def _claiming(lease_end: Callable[[Given], ColumnElement[Any]], lease: TypeEngine[Any]) -> UpdateEach:
    return UpdateEach(
        lambda given: (
            update(Task)
            .where(Task.id == given["of"], Task.status == TaskStatus.PENDING)
            .values(
                status=TaskStatus.RUNNING,
                worker_id=given["worker"],
                fence=given["new_fence"],
                lease_expires_at=lease_end(given),
                unsent=True,
                started_position=given["begun"],
                started_at=given["begun_at"],
                celery_task_id=given["message"],
            )
        ),
        of=Uuid(),
        worker=String(),
        new_fence=Integer(),
        lease=lease,
        begun=BigInteger(),
        begun_at=UtcDateTime(),
        message=String(),
    )


_CLAIM = _claiming(lambda given: func.clock_timestamp() + given["lease"], Interval())


_CLAIM_SQLITE = _claiming(lambda given: given["lease"], UtcDateTime())


async def claim(
    session: AsyncSession,
    tasks: Sequence[PendingTask],
    positions: Sequence[int],
    *,
    worker: str,
    lease: dt.timedelta,
    message: str | None,
) -> list[Claim]:
    """Take the tasks (from `jobs.pending_tasks`, in the same transaction): they are running from the commit on, and
    the worker's until `lease` from now, by the clock of leases (see session.lease_now). `message` is the id of
    the message that brought the work, where one did."""
    claims = [
        Claim(task.id, task.job_id, task.platform_id, task.platform_name, task.fence + 1, position)
        for task, position in zip(tasks, positions, strict=True)
    ]
    if claims:
        connection = await session.connection()
        now = await database_now(session)
        end = await lease_now(session) + lease if on_sqlite(session) else lease
        await (_CLAIM_SQLITE if on_sqlite(session) else _CLAIM).execute(
            connection,
            [
                {
                    "of": claim.id,
                    "worker": worker,
                    "new_fence": claim.fence,
                    "lease": end,
                    "begun": claim.position,
                    "begun_at": now,
                    "message": message,
                }
                for claim in claims
            ],
        )
    return claims


def _of_owner(given: Given) -> Update:
    """An update of the task, if whoever has this fence owns it."""
    return update(Task).where(
        Task.id == given["of"], Task.fence == given["of_fence"], Task.status == TaskStatus.RUNNING
    )


_SEND = UpdateEach(
    lambda given: _of_owner(given).values(unsent=False, platform_address=given["account"]),
    of=Uuid(),
    of_fence=Integer(),
    account=String(),
)


async def sending(session: AsyncSession, sent: Mapping[UUID, tuple[int, str]]) -> set[UUID]:
    """Write that the tasks are being sent, each by who has this fence, to this account of a host. Those that are not
    theirs any more are returned: they must not be sent."""
    connection = await session.connection()
    rows = [
        {"of": task_id, "of_fence": sent[task_id][0], "account": sent[task_id][1]}
        for task_id in sorted(sent, key=_INT)
    ]
    if await _SEND.execute(connection, rows) == len(rows):
        return set()
    return set(sent) - await owned(session, {task_id: fence for task_id, (fence, _) in sent.items()})


_GIVE_BACK = UpdateEach(
    lambda given: _of_owner(given).values(
        status=TaskStatus.PENDING,
        worker_id=None,
        lease_expires_at=None,
        celery_task_id=None,
        unsent=False,
        started_position=None,
        started_at=None,
    ),
    of=Uuid(),
    of_fence=Integer(),
)


async def give_back(session: AsyncSession, results: Sequence[Result]) -> None:
    """Tasks of which their owner knows that nothing was sent are pending again, for whoever claims them next; also those
    that were about to be sent."""
    await _GIVE_BACK.execute(
        await session.connection(),
        [{"of": result.task_id, "of_fence": result.fence} for result in sorted(results, key=_INT_OF_TASK)],
    )


_FINISH = UpdateEach(
    lambda given: (
        _of_owner(given)
        .values(
            {name.removeprefix("new_"): value for name, value in given.items() if name.startswith("new_")}
        )
        .values(
            lease_expires_at=None,
            unsent=False,
            # The clock may have been set back since.
            finished_at=case((Task.started_at > given["ended_at"], Task.started_at), else_=given["ended_at"]),
        )
    ),
    of=Uuid(),
    of_fence=Integer(),
    ended_at=UtcDateTime(),
    new_status=String(),
    new_exit_code=BigInteger(),
    new_exit_signal=String(),
    new_error_code=String(),
    new_error_message=SafeText(),
    new_details=JSON(),
    new_stdout=SafeText(),
    new_stderr=SafeText(),
    new_output_frames=Integer(),
    new_output_bytes=BigInteger(),
    new_result_location=String(),
    new_finished_position=BigInteger(),
    new_duration_seconds=Double(),
    new_may_still_run=Boolean(),
    new_to_be_ended=Boolean(),
    new_look_at=UtcDateTime(),
)
FIRST_LOOK = dt.timedelta(seconds=5)
"""So long after a task's end somebody looks for what it may have left on its host."""


async def finish(session: AsyncSession, results: Sequence[Result]) -> list[Result]:
    """Write how tasks ended; the results that were refused, because their task is not the writer's
    any more, are returned and have changed nothing."""
    connection = await session.connection()
    # In the order of ids, as others lock them who do not hold the job.
    now = await database_now(session)
    rows = [_finish_row(result, now) for result in sorted(results, key=_INT_OF_TASK)]
    refused: list[Result] = []
    if await _FINISH.execute(connection, rows) != len(results):
        owned = {
            row.id: (row.fence, row.finished_position)
            for row in await session.execute(
                select(Task.id, Task.fence, Task.finished_position).where(
                    Task.id.in_([result.task_id for result in results])
                )
            )
        }
        refused = [
            result for result in results if owned.get(result.task_id) != (result.fence, result.position)
        ]
    gone = {result.task_id for result in refused}
    outputs = [
        {"task_id": result.task_id, "frames": result.frames}
        for result in results
        if result.frames and result.task_id not in gone
    ]
    if outputs:
        # A task whose worker was salvaged may have its output stored already: the same frames again.
        await connection.execute(insert_into(TaskOutput, connection).on_conflict_do_nothing(), outputs)
    return refused


def _finish_row(result: Result, now: dt.datetime) -> dict[str, Any]:
    remains = result.remains
    return {
        "of": result.task_id,
        "of_fence": result.fence,
        "new_status": result.status,
        "new_exit_code": result.exit_code,
        "new_exit_signal": result.exit_signal,
        "new_error_code": result.error_code,
        "new_error_message": result.error_message,
        "new_details": result.details,
        "new_stdout": result.stdout,
        "new_stderr": result.stderr,
        "new_output_frames": result.output_frames,
        "new_output_bytes": result.output_bytes,
        "new_result_location": result.result_location,
        "new_finished_position": result.position,
        "new_duration_seconds": result.duration,
        "ended_at": now,
        "new_may_still_run": remains is not None,
        "new_to_be_ended": remains is not None and remains.to_be_ended,
        "new_look_at": now + FIRST_LOOK if remains is not None and remains.look else None,
    }


_NEVER_BEGUN = "Cancelled before it began: nothing was run on the platform."


def never_begun(result: Result) -> None:
    """The task ends as cancelled; nothing of it was sent."""
    result.status = TaskStatus.CANCELLED
    result.error_code, result.error_message = "cancelled", _NEVER_BEGUN


_CANCEL = UpdateEach(
    lambda given: (
        update(Task)
        .where(
            Task.id == given["of"],
            Task.job_id == given["of_job"],
            Task.status == TaskStatus.PENDING,
        )
        .values(
            status=TaskStatus.CANCELLED,
            error_code="cancelled",
            error_message=_NEVER_BEGUN,
            finished_position=given["ended"],
            finished_at=given["ended_at"],
        )
    ),
    of=Uuid(),
    of_job=Uuid(),
    ended=BigInteger(),
    ended_at=UtcDateTime(),
)


async def cancel_pending(
    session: AsyncSession, job_id: UUID, positions: Sequence[int], ids: Sequence[UUID]
) -> None:
    """End tasks that had not begun as cancelled."""
    now = await database_now(session)
    await _CANCEL.execute(
        await session.connection(),
        [
            {"of": task_id, "of_job": job_id, "ended": position, "ended_at": now}
            for task_id, position in zip(ids, positions, strict=True)
        ],
    )


async def renew(session: AsyncSession, worker: str, ids: Sequence[UUID], lease: dt.datetime) -> list[UUID]:
    """The worker lives: the leases of these tasks now end at `lease`. Those that are not its own any more are
    returned."""
    # In the order of ids, as everybody else locks them.
    ids = sorted(ids, key=_INT)
    kept: set[UUID] = set()
    for chunk in chunks(ids):
        kept.update(
            await session.scalars(
                update(Task)
                .where(Task.id.in_(chunk), Task.status == TaskStatus.RUNNING, Task.worker_id == worker)
                .values(lease_expires_at=lease)
                .returning(Task.id)
                .execution_options(synchronize_session=False)
            )
        )
    return [task_id for task_id in ids if task_id not in kept]


class Lease(NamedTuple):
    """A running task and its owner's lease. `end` is there to be compared: each renewal changes it. When it comes no clock
    says that may have been set since."""

    id: UUID
    job_id: UUID
    worker: str | None
    fence: int
    end: dt.datetime | None


async def leases(session: AsyncSession) -> list[Lease]:
    """Those of all running tasks, by job and id."""
    rows = await session.execute(
        select(Task.id, Task.job_id, Task.worker_id, Task.fence, Task.lease_expires_at)
        .where(Task.status == TaskStatus.RUNNING)
        .order_by(Task.job_id, Task.id)
    )
    return [Lease(*row) for row in rows]


async def take_over(
    session: AsyncSession, task: Lease, *, worker: str, lease: dt.datetime
) -> tuple[int, bool] | None:
    """Take a task from its owner, who can write nothing about it any more, and send nothing of it; the new fence is
    returned, and whether nothing was sent, or None where the lease is not as it was: its owner turned out to live, or
    another was quicker."""
    fence = task.fence + 1
    unsent = await session.scalar(
        update(Task)
        .where(
            Task.id == task.id,
            Task.fence == task.fence,
            Task.status == TaskStatus.RUNNING,
            Task.lease_expires_at == task.end,
        )
        .values(fence=fence, worker_id=worker, lease_expires_at=lease)
        .returning(Task.unsent)
        .execution_options(synchronize_session=False)
    )
    return (fence, unsent) if unsent is not None else None


async def owned(session: AsyncSession, owners: Mapping[UUID, int]) -> set[UUID]:
    """Those of the tasks that still run under the fence that is named for them."""
    found: set[UUID] = set()
    for chunk in chunks(list(owners)):
        rows = await session.execute(
            select(Task.id, Task.fence).where(Task.id.in_(chunk), Task.status == TaskStatus.RUNNING)
        )
        found.update(row.id for row in rows if row.fence == owners[row.id])
    return found


async def running(session: AsyncSession, task_ids: Collection[UUID]) -> set[UUID]:
    """Those of the tasks that run, whoever has them."""
    found: set[UUID] = set()
    for chunk in chunks(list(task_ids)):
        found.update(
            await session.scalars(
                select(Task.id).where(Task.id.in_(chunk), Task.status == TaskStatus.RUNNING)
            )
        )
    return found
