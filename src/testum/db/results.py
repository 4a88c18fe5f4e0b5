"""Results: how tasks that were claimed end, as it goes into their rows, or that they are given back."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Boolean, Double, Integer, String, Uuid, case, select
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.frames import Piece, encode_row
from testum.core.states import TaskStatus
from testum.db.base import SafeText, UtcDateTime, insert_into
from testum.db.bulk import UpdateEach
from testum.db.claims import ENDING_WIDTH, NEVER_BEGUN, of_owner
from testum.db.session import database_now
from testum.db.tasks import Task, TaskOutput


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


_OF_TASK = attrgetter("task_id.int")
"""What results are sorted by: the ids of their tasks (many.BY_ID)."""


_GIVE_BACK = UpdateEach(
    lambda given: of_owner(given).values(
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
        [{"of": result.task_id, "of_fence": result.fence} for result in sorted(results, key=_OF_TASK)],
    )


_FINISH = UpdateEach(
    lambda given: (
        of_owner(given)
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
    rows = [_finish_row(result, now) for result in sorted(results, key=_OF_TASK)]
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


def never_begun(result: Result) -> None:
    """The task ends as cancelled; nothing of it was sent."""
    result.status = TaskStatus.CANCELLED
    result.error_code, result.error_message = "cancelled", NEVER_BEGUN
