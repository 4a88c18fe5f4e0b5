"""What an action gets and gives: the context of one task, and how it ended."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from testum.core.feature import Action
from testum.core.states import TaskStatus
from testum.db.results import Remains
from testum.db.session import Database
from testum.errors import StorageFull, StorageUnavailable
from testum.execution.recorder import OutputLimit, Recorder
from testum.output.base import TakenOver
from testum.ssh import Endpoint, NotBegun, Pool, Progress, SSHError, Timeouts

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JobWork:
    """A job as its tasks need it: read once, shared by all of them. Holds secrets in clear."""

    id: UUID
    kind: str
    timeouts: Timeouts
    action: Action
    parameters: Any = None
    """What the job was told, a JobKind; None where no feature has this kind."""
    loaded: Any = None
    """What JobKind.load has read."""


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

    @classmethod
    def of_error(cls, error: Exception) -> "Outcome":
        """How a task ends for which an error was raised."""
        match error:
            case NotBegun():
                return cls.failed(error.code, error.message, exit_code=error.status)
            case SSHError():
                details = {}
                if error.host_key is not None:
                    key = error.host_key
                    details["presented_host_key"] = {
                        "public_key": key.public_key,
                        "fingerprint": key.fingerprint,
                    }
                return cls.failed(error.code, error.message, details=details)
            case TakenOver():
                return cls(TaskStatus.LOST, error_code=error.code, error_message=error.message)
            case StorageFull() | OutputLimit() | StorageUnavailable():
                return cls.failed(error.code, error.message)
        log.error("a task failed within testum", exc_info=error)
        told = f"testum failed ({type(error).__name__}); the server's log says more."
        return cls.failed("internal", told)

    @classmethod
    def cancelled(cls) -> "Outcome":
        """How a task ends whose job was cancelled."""
        return cls(TaskStatus.CANCELLED, error_code="cancelled", error_message="Cancelled while it ran.")

    @classmethod
    def stopped(cls) -> "Outcome":
        """How a task ends that the worker's stop ends."""
        return cls(
            TaskStatus.LOST,
            error_code="worker_stopped",
            error_message="The server was stopped while the task ran; it was ended on the host.",
        )
