"""What an action gets and gives: the context of one task, and how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from testum.core.actions import JobSpec
from testum.core.states import TaskStatus
from testum.db.claims import Remains
from testum.db.session import Database
from testum.execution.recorder import Recorder
from testum.ssh import Endpoint, Pool, Progress, Timeouts


@dataclass(frozen=True, slots=True)
class JobWork:
    """A job as its tasks need it: read once, shared by all of them. Holds secrets in clear."""

    id: UUID
    spec: JobSpec
    timeouts: Timeouts
    keys: Sequence[tuple[str, str]] = ()
    """For `deploy`: name and public key line."""


@dataclass(slots=True)
class Context:
    """One task at work."""

    work: JobWork
    endpoint: Endpoint
    plain: bool
    platform_id: UUID
    marker: str
    pool: Pool
    recorder: Recorder
    database: Database
    progress: Progress = field(default_factory=Progress)

    @property
    def may_still_run(self) -> bool:
        """Whether something was sent to the host, which did not say that it ended."""
        return self.progress.sent and not self.progress.ended


@dataclass(slots=True)
class Outcome:
    """How a task ended."""

    status: TaskStatus = TaskStatus.SUCCESS
    exit_code: int | None = None
    exit_signal: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    sent: bool = True
    """Whether something may have gone to the host."""
    remains: Remains | None = None
    """What may still be at work there."""

    @classmethod
    def failed(cls, code: str, message: str, **more: Any) -> "Outcome":
        """A failure with its stable code and a message for people."""
        return cls(TaskStatus.FAILED, error_code=code, error_message=message, **more)


class Action(Protocol):
    """What a type of job does on one platform. Whatever it raises ends the task."""

    async def __call__(self, context: Context) -> Outcome: ...


Actions = Mapping[str, Action]
