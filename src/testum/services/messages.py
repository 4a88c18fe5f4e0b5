"""The messages that a follower of a task or a job gets, each made of what is stored.

Numbers in a task's stream: 0 is the task as created, 1 its start (left out if it never started), then
its output frames, then `error` where it failed, then `done`. In a job's stream `seq` is the position
(core/positions.py), one order over all its tasks, and `task_seq` the number in the task's own stream.
"""

import base64
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from testum.core.frames import Frame, Stream, decode_text
from testum.core.states import FINAL_JOB, TaskStatus
from testum.db.base import utc_now
from testum.db.jobs import Job
from testum.db.tasks import Task, moment
from testum.errors import OutputDamaged


@dataclass(frozen=True, slots=True)
class Message:
    """One message to a follower. `data` is the exact bytes where `payload`, as text, is not exact."""

    ts: dt.datetime
    type: str
    payload: Any
    seq: int
    task_id: UUID | None
    task_seq: int | None = None
    data: bytes | None = None

    def to_json(self) -> dict[str, Any]:
        """The message as SPEC gives it."""
        body: dict[str, Any] = {
            "ts": self.ts,
            "type": self.type,
            "payload": self.payload,
            "seq": self.seq,
            "task_id": self.task_id,
        }
        if self.task_seq is not None:
            body["task_seq"] = self.task_seq
        if self.data is not None:
            body["data"] = base64.b64encode(self.data).decode("ascii")
        return body


def created(task: Task) -> Message:
    """The task as it was created: number 0."""
    return Message(task.created_at, "status", {"status": TaskStatus.PENDING, **_platform(task)}, 0, task.id)


def started(task: Task, seq: int) -> Message:
    """The start of a task that has started."""
    payload = {"status": TaskStatus.RUNNING, **_platform(task)}
    return Message(task.started_at or task.created_at, "status", payload, seq, task.id)


def _platform(task: Task) -> dict[str, Any]:
    return {"platform_id": task.platform_id, "platform_name": task.platform_name}


_TYPES = {Stream.STDOUT: "stdout", Stream.STDERR: "stderr"}


def output(task_id: UUID, frame: Frame, seq: int) -> Message:
    """A frame of output."""
    text, exact = decode_text(frame.data)
    return Message(
        moment(frame.position), _TYPES[frame.stream], text, seq, task_id, data=None if exact else frame.data
    )


def more(task: Task, seq: int) -> Message:
    """That a task which has not ended may have printed more, for those who are not told what."""
    return Message(utc_now(), "progress", {"status": task.status}, seq, task.id)


def ending(task: Task, last: int, fault: OutputDamaged | None = None) -> list[Message]:
    """What a finished task shows after its output: `error` unless it succeeded, then `done`, which says also what is the
    matter with the output."""
    at = task.finished_at or task.created_at
    told = []
    if task.error_code is not None:
        last += 1
        told.append(
            Message(at, "error", {"code": task.error_code, "message": task.error_message}, last, task.id)
        )
    payload = {
        "status": task.status,
        "exit_code": task.exit_code,
        "signal": task.exit_signal,
        "error_code": task.error_code,
        "error_message": task.error_message,
        "termination": task.details.get("termination"),
        "may_still_run": task.may_still_run,
        "duration_seconds": task.duration_seconds,
        **_platform(task),
    }
    if task.output_expired_at is not None:
        payload["output_expired_at"] = task.output_expired_at
    if fault is not None:
        payload["output_error"] = {"code": fault.code, "message": fault.message}
    told.append(Message(at, "done", payload, last + 1, task.id))
    return told


def in_job(message: Message, position: int) -> Message:
    """The message as a job's stream shows it."""
    return Message(
        message.ts, message.type, message.payload, position, message.task_id, message.seq, message.data
    )


def of_job(job: Job, counts: dict[TaskStatus, int], position: int) -> Message:
    """Where the whole job stands."""
    payload: dict[str, Any] = {"status": job.status, "counts": count_json(counts)}
    over = job.status in FINAL_JOB
    return Message(
        job.finished_at or moment(position) if over else moment(position) if position else job.created_at,
        "done" if over else "progress",
        payload,
        position,
        None,
    )


def count_json(counts: Mapping[TaskStatus, int]) -> dict[str, int]:
    """The number of tasks in each status, and in all."""
    whole = {status.value: counts.get(status, 0) for status in TaskStatus}
    return {"total": sum(whole.values()), **whole}
