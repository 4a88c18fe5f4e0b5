"""Domain errors: each has a stable `code` that clients may rely on and a message a person can act on.

They know nothing of HTTP; `web/errors.py` is the one map from here to status codes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field of the input.

    `field` is a dotted path (`targets.names`), `message` a sentence without the offending value,
    because values may be secrets.
    """

    field: str
    message: str


class TestumError(Exception):
    """Base of all errors a caller can be told about."""

    __test__ = False
    """pytest must not take the class for a test because of its name."""

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class InvalidInput(TestumError):
    """The request is understood but its values are not acceptable."""

    code = "invalid"

    def __init__(self, message: str, *, code: str | None = None, fields: Sequence[FieldProblem] = ()) -> None:
        super().__init__(message, code=code)
        self.fields = tuple(fields)

    @classmethod
    def field(cls, field: str, message: str) -> "InvalidInput":
        """The common case of one bad field."""
        return cls.of([FieldProblem(field, message)])

    @classmethod
    def of(cls, found: Sequence[FieldProblem]) -> "InvalidInput":
        """One or more bad fields."""
        return cls(f"{found[0].field}: {found[0].message}", fields=found)


class SecretWouldLeave(InvalidInput):
    """After this a stored secret might go to another host than it was stored for."""

    code = "secret_would_leave"


class Problems:
    """What is wrong with several fields, so that all of it is told at once."""

    def __init__(self, found: Iterable[FieldProblem] = ()) -> None:
        self.found = list(found)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note an InvalidInput that the block raises, and go on after the block."""
        try:
            yield
        except InvalidInput as error:
            self.found += error.fields

    def check(self) -> None:
        """Raise InvalidInput that names every field, if any is wrong."""
        if self.found:
            raise InvalidInput.of(self.found)


class NotFound(TestumError):
    """The object does not exist, or the asker may not know that it does."""

    code = "not_found"


class TooLarge(TestumError):
    """The request has more bytes than one may have."""

    code = "too_large"


class OutputExpired(TestumError):
    """The task's output was removed, because it was older than output is kept."""

    code = "output_expired"


class OutputDamaged(TestumError):
    """A task's output is not what was stored: some of it is changed or gone (code `output_missing`: all of it). What
    stands before that can be read."""

    code = "output_damaged"


class Conflict(TestumError):
    """The request collides with what is stored: a taken name, a state that forbids it."""

    code = "conflict"


class MayStillRun(Conflict):
    """What is asked for may still be at work on hosts from before, where it would be started a second time.

    `tasks` are the ended tasks that nobody knows to be gone, each with `task_id`, `job_id`, `platform_id` and
    `platform_name`.
    """

    code = "may_still_run"

    def __init__(self, message: str, tasks: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(message)
        self.tasks = tasks


class Unauthenticated(TestumError):
    """Nobody is logged in, or the login given is not valid (any more)."""

    code = "unauthenticated"


class Forbidden(TestumError):
    """The account is known and its role does not allow this."""

    code = "forbidden"


class Throttled(TestumError):
    """Too many attempts; `retry_after` says in how many seconds the next one is heard."""

    code = "throttled"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StorageFull(TestumError):
    """The disk under `DATA_DIR` has no room left for what must be kept."""

    code = "storage_full"


class StorageUnavailable(TestumError):
    """The database or the artifact store does not answer now; the same may work later."""

    code = "storage_unavailable"


class WritesRefused(StorageUnavailable):
    """It answers, and refuses to write: a replica, a full memory, a disk that became read-only."""


class Stopping(TestumError):
    """The process that would do it is about to stop, and begins nothing more."""

    code = "stopping"


class ConfigurationError(TestumError):
    """A setting is missing or unusable; the message names the setting and the remedy."""

    code = "configuration"
