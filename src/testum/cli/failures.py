"""How a command ends when it cannot go on: one clear message and an exit status."""

from collections.abc import Mapping, Sequence
from typing import Any

OK = 0
SOME_FAILED = 1
WRONG_USE = 2
REFUSED = 3
INTERRUPTED = 130
OUTPUT_CLOSED = 141
"""As a shell reports a program that SIGPIPE ended."""


class Failure(Exception):
    """Ends the program: `message` goes to stderr, `status` is the exit status."""

    status = SOME_FAILED

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class WrongUse(Failure):
    """The command line, a file named on it, or a setting cannot be used."""

    status = WRONG_USE


class Unreachable(Failure):
    """The server does not answer, or what answers is not testum."""

    status = REFUSED


class Unanswered(Unreachable):
    """The connection ended before the answer: what was asked for may be done or not."""


class Refused(Failure):
    """The server said no. `http_status` and `code` are those of its problem document."""

    status = REFUSED

    def __init__(self, http_status: int, problem: Mapping[str, Any]) -> None:
        self.http_status = http_status
        self.code = str(problem.get("code", ""))
        text = str(problem.get("detail") or problem.get("title") or f"HTTP status {http_status}")
        super().__init__("\n".join([text, *_field_lines(problem.get("errors"), text)]))


def _field_lines(errors: object, text: str) -> list[str]:
    """One line for each field error that the text does not say already."""
    if not isinstance(errors, Sequence) or isinstance(errors, str):
        return []
    lines = [
        f"{error.get('field', '')}: {error.get('message', '')}"
        for error in errors
        if isinstance(error, Mapping)
    ]
    return [f"  {line}" for line in lines if line not in text]
