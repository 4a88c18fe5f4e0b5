"""The states of tasks and jobs, and which may follow which: the only place that says so."""

from collections.abc import Mapping
from enum import StrEnum


class TaskStatus(StrEnum):
    """Where a task is. `lost`: its worker died, and whether the command finished is not known."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


class JobStatus(StrEnum):
    """Where a job is, as the sum of its tasks."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


class PlatformState(StrEnum):
    """What the last task that tells of it said about a platform."""

    UNKNOWN = "unknown"
    OK = "ok"
    UNREACHABLE = "unreachable"
    AUTH_FAILED = "auth_failed"
    HOST_KEY_CHANGED = "host_key_changed"
    HOST_KEY_UNKNOWN = "host_key_unknown"


TROUBLE = (
    PlatformState.HOST_KEY_CHANGED,
    PlatformState.UNREACHABLE,
    PlatformState.AUTH_FAILED,
    PlatformState.HOST_KEY_UNKNOWN,
)
"""The states that somebody should look at, worst first."""


class StateFilter(StrEnum):
    """What a filter may ask of a platform's state: that it is this one, or any of TROUBLE."""

    UNKNOWN = PlatformState.UNKNOWN.value
    OK = PlatformState.OK.value
    UNREACHABLE = PlatformState.UNREACHABLE.value
    AUTH_FAILED = PlatformState.AUTH_FAILED.value
    HOST_KEY_CHANGED = PlatformState.HOST_KEY_CHANGED.value
    HOST_KEY_UNKNOWN = PlatformState.HOST_KEY_UNKNOWN.value
    ATTENTION = "attention"


_STATES = {
    PlatformState.OK: ("exit_status", "no_exit_status", "signal", "output_limit", "idle_timeout"),
    PlatformState.UNREACHABLE: (
        "unreachable",
        "host_not_found",
        "connection_refused",
        "connect_timeout",
        "handshake_failed",
    ),
    PlatformState.AUTH_FAILED: (
        "auth_failed",
        "auth_incomplete",
        "key_rejected",
        "key_invalid",
        "passphrase_required",
        "passphrase_wrong",
    ),
    PlatformState.HOST_KEY_CHANGED: ("host_key_changed",),
    PlatformState.HOST_KEY_UNKNOWN: ("host_key_unknown",),
}
_STATE_OF = {code: state for state, codes in _STATES.items() for code in codes}


def platform_state(status: TaskStatus, error_code: str | None) -> PlatformState | None:
    """What the end of a task says about its platform; None: nothing."""
    if status is TaskStatus.SUCCESS:
        return PlatformState.OK
    return _STATE_OF.get(error_code or "") if status is TaskStatus.FAILED else None


_KNOWN_ENDS = frozenset({TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED})

TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.PENDING: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED}),
    # Back to pending: it was claimed, and its worker is gone without having sent anything to the host.
    TaskStatus.RUNNING: _KNOWN_ENDS | {TaskStatus.LOST, TaskStatus.PENDING},
    TaskStatus.SUCCESS: frozenset(),
    TaskStatus.FAILED: frozenset(),
    TaskStatus.CANCELLED: frozenset(),
    # How it ended may come to light later (docs/decisions/0028).
    TaskStatus.LOST: _KNOWN_ENDS,
}
"""What may follow each task status."""

FINAL = _KNOWN_ENDS | {TaskStatus.LOST}
"""Nothing is done about a task any more that has one of these; nor is it ever done again."""
UNFINISHED = frozenset(TRANSITIONS) - FINAL
FINAL_JOB = frozenset({JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELLED})


def job_status(counts: Mapping[TaskStatus, int], *, cancel_requested: bool) -> JobStatus:
    """A job's status from the number of its tasks in each status.

    A job is final only when all its tasks are. One that someone cancelled, and of which anything was
    in fact cancelled, is `cancelled` whatever the other tasks did; otherwise one failed or lost task
    makes it `failed`.
    """
    if any(counts.get(status, 0) for status in UNFINISHED):
        started = any(number for status, number in counts.items() if status is not TaskStatus.PENDING)
        return JobStatus.RUNNING if started else JobStatus.PENDING
    if cancel_requested and counts.get(TaskStatus.CANCELLED, 0):
        return JobStatus.CANCELLED
    if counts.get(TaskStatus.FAILED, 0) or counts.get(TaskStatus.LOST, 0):
        return JobStatus.FAILED
    return JobStatus.CANCELLED if counts.get(TaskStatus.CANCELLED, 0) else JobStatus.SUCCESS
