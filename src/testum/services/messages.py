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
from testum.core.states import FINAL, FINAL_JOB, TaskStatus
from testum.db.base import utc_now
from testum.db.jobs import Job
from testum.db.tasks import Task, moment
from testum.errors import OutputDamaged


@dataclass(frozen=True, slots=True)
class Message:
    """One message to a follower. `payload` is for people. `data` is the same for programs, where there is more to it: a
    structure, or of output that is not exact as text its bytes."""

    ts: dt.datetime
    type: str
    payload: str
    seq: int
    task_id: UUID | None
    task_seq: int | None = None
    data: Mapping[str, Any] | bytes | None = None

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
            data = self.data
            body["data"] = base64.b64encode(data).decode("ascii") if isinstance(data, bytes) else data
        return body


def created(task: Task) -> Message:
    """The task as it was created: number 0."""
    return _of_task(task, task.created_at, "status", 0, TaskStatus.PENDING)


def started(task: Task, seq: int) -> Message:
    """The start of a task that has started."""
    return _of_task(task, task.started_at or task.created_at, "status", seq, TaskStatus.RUNNING)


def _of_task(task: Task, ts: dt.datetime, type: str, seq: int, status: str, **more: Any) -> Message:
    data = {
        "status": status,
        **more,
        "platform_id": task.platform_id,
        "platform_name": task.platform_name,
    }
    return Message(ts, type, status, seq, task.id, data=data)


_TYPES = {Stream.STDOUT: "stdout", Stream.STDERR: "stderr"}


def output(task_id: UUID, frame: Frame, seq: int) -> Message:
    """A frame of output."""
    text, exact = decode_text(frame.data)
    return Message(
        moment(frame.position), _TYPES[frame.stream], text, seq, task_id, data=None if exact else frame.data
    )


def more(task: Task, seq: int) -> Message:
    """That a task which has not ended may have printed more, for those who are not told what."""
    return _of_task(task, utc_now(), "progress", seq, task.status)


def ending(task: Task, last: int, fault: OutputDamaged | None = None) -> list[Message]:
    """What a finished task shows after its output: `error` unless it succeeded, then `done`, which says also what is the
    matter with the output."""
    at = task.finished_at or task.created_at
    told = []
    if task.error_code is not None:
        last += 1
        said = {"code": task.error_code, "message": task.error_message}
        told.append(Message(at, "error", task.error_message or task.error_code, last, task.id, data=said))
    more: dict[str, Any] = {
        "exit_code": task.exit_code,
        "signal": task.exit_signal,
        "error_code": task.error_code,
        "error_message": task.error_message,
        "termination": task.details.get("termination"),
        "may_still_run": task.may_still_run,
        "duration_seconds": task.duration_seconds,
    }
    if task.output_expired_at is not None:
        more["output_expired_at"] = task.output_expired_at
    if fault is not None:
        more["output_error"] = {"code": fault.code, "message": fault.message}
    told.append(_of_task(task, at, "done", last + 1, task.status, **more))
    return told


def in_job(message: Message, position: int) -> Message:
    """The message as a job's stream shows it."""
    return Message(
        message.ts, message.type, message.payload, position, message.task_id, message.seq, message.data
    )


def of_job(job: Job, counts: dict[TaskStatus, int], position: int) -> Message:
    """Where the whole job stands."""
    data: dict[str, Any] = {"status": job.status, "counts": count_json(counts)}
    over = job.status in FINAL_JOB
    ended = sum(counts.get(status, 0) for status in FINAL)
    return Message(
        job.finished_at or moment(position) if over else moment(position) if position else job.created_at,
        "done" if over else "progress",
        job.status if over else f"{ended} of {data['counts']['total']}",
        position,
        None,
        data=data,
    )


def count_json(counts: Mapping[TaskStatus, int]) -> dict[str, int]:
    """The number of tasks in each status, and in all."""
    whole = {status.value: counts.get(status, 0) for status in TaskStatus}
    return {"total": sum(whole.values()), **whole}
