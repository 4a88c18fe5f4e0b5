"""The kinds of job there are, what each takes, and the rules its parameters keep."""

import shlex
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from testum.errors import FieldProblem, Problems

MAX_COMMAND = 128 * 1024 - 1024
"""Bytes of a command: Linux takes at most 128 KiB in one argument (MAX_ARG_STRLEN, execve(2))."""
MAX_SCRIPT = 1024 * 1024
MAX_TIMEOUT = 7 * 86_400.0
MAX_CONCURRENCY = 1000

_NOT_SENT = "must not contain a NUL character or half a surrogate pair."


def _can_be_sent(text: str) -> bool:
    """Whether the text can be an argument or a file on the host: JSON's `\\ud800` has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


class JobType(StrEnum):
    """What a job does on each of its platforms."""

    RUN_COMMAND = "run_command"
    RUN_SCRIPT = "run_script"
    DEPLOY = "deploy"
    GATHER_FACTS = "gather_facts"
    TEST_CONNECTION = "test_connection"


class RerunOf(StrEnum):
    """Which of a job's tasks a rerun takes: all, those that did not succeed, or those that never ended."""

    ALL = "all"
    FAILED = "failed"
    UNFINISHED = "unfinished"


_SHELLS = frozenset(["sh", "bash", "dash", "ash", "ksh", "ksh93", "mksh", "zsh", "fish", "csh", "tcsh"])


@dataclass(frozen=True, slots=True)
class ScriptSpec:
    """A program to run: its text goes to `interpreter` over stdin, never onto a command line."""

    text: str
    interpreter: str = "/bin/sh"
    arguments: tuple[str, ...] = ()
    converted: bool = False
    """Whether `for_shell` has changed the text."""

    def for_shell(self) -> "ScriptSpec":
        """The script as a shell reads it: where it is one's, without a byte order mark, and with LF where every line ends in
        CR LF, of which a shell would take the CR for a part of the last word. Other programs get what was written."""
        try:
            words = shlex.split(self.interpreter)
        except ValueError:
            return self
        if not any(PurePosixPath(word).name in _SHELLS for word in words):
            return self
        text = self.text.removeprefix("\ufeff")
        if text.count("\n") == text.count("\r\n"):
            text = text.replace("\r\n", "\n").removesuffix("\r")
        return self if text == self.text else replace(self, text=text, converted=True)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job is to do, apart from where. Times in seconds; None leaves the choice to the settings."""

    type: JobType
    command: str | None = None
    script: ScriptSpec | None = None
    environment: dict[str, str] = field(default_factory=dict)
    key_ids: tuple[UUID, ...] | None = None
    """For `deploy`: the keys; None means all there are."""
    timeout: float | None = None
    idle_timeout: float | None = None
    concurrency: int | None = None

    def check(self) -> None:
        """Raise InvalidInput that names every field that breaks a rule."""
        problems = Problems()

        def problem(name: str, message: str) -> None:
            problems.found.append(FieldProblem(name, message))

        wants_command = self.type is JobType.RUN_COMMAND
        wants_script = self.type is JobType.RUN_SCRIPT
        if wants_command and not (self.command or "").strip():
            problem("command", "is needed.")
        if self.command is not None:
            if not wants_command:
                problem("command", f"a {self.type} job takes none.")
            if not _can_be_sent(self.command):
                problem("command", _NOT_SENT)
            if len(self.command.encode("utf-8", "surrogatepass")) > MAX_COMMAND:
                problem("command", f"is over {MAX_COMMAND} bytes; run it as a script.")
        if wants_script and (self.script is None or not self.script.text.strip()):
            problem("script", "is needed.")
        if self.script is not None:
            if not wants_script:
                problem("script", f"a {self.type} job takes none.")
            self._check_script(self.script, problem)
        if self.environment and not (wants_command or wants_script):
            problem("environment", f"a {self.type} job takes none.")
        for name, value in self.environment.items():
            if not (name.isascii() and name.isidentifier()):
                problem("environment", "names are letters, digits and underscores, not first a digit.")
            if not _can_be_sent(value):
                problem("environment", f"values {_NOT_SENT}")
        if self.key_ids is not None and self.type is not JobType.DEPLOY:
            problem("key_ids", f"a {self.type} job takes none.")
        if self.key_ids is not None and not self.key_ids:
            problem("key_ids", "name at least one key, or leave it out for all.")
        for name, seconds in (("timeout", self.timeout), ("idle_timeout", self.idle_timeout)):
            if seconds is not None and not 0 < seconds <= MAX_TIMEOUT:
                problem(name, f"must be more than 0 and at most {MAX_TIMEOUT:.0f} seconds.")
        if self.concurrency is not None and not 1 <= self.concurrency <= MAX_CONCURRENCY:
            problem("concurrency", f"must be from 1 to {MAX_CONCURRENCY}.")
        problems.check()

    def parameters(self) -> dict[str, Any]:
        """What of it may be read by all, as JSON; of the environment only the names."""
        parameters: dict[str, Any] = {}
        if self.command is not None:
            parameters["command"] = self.command
        if self.script is not None:
            parameters["script"] = {
                "text": self.script.text,
                "interpreter": self.script.interpreter,
                "arguments": list(self.script.arguments),
                "converted": self.script.converted,
            }
        if self.environment:
            parameters["environment_names"] = sorted(self.environment)
        if self.key_ids is not None:
            parameters["key_ids"] = [str(key_id) for key_id in self.key_ids]
        return parameters

    @staticmethod
    def _check_script(script: ScriptSpec, problem: object) -> None:
        assert callable(problem)
        if not _can_be_sent(script.text):
            problem("script.text", _NOT_SENT)
        if len(script.text.encode("utf-8", "surrogatepass")) > MAX_SCRIPT:
            problem("script.text", f"is over {MAX_SCRIPT} bytes.")
        if not all(_can_be_sent(argument) for argument in script.arguments):
            problem("script.arguments", _NOT_SENT)
        try:
            words = shlex.split(script.interpreter)
        except ValueError:
            words = []
        if (
            not words
            or not _can_be_sent(script.interpreter)
            or any(ord(character) < 32 for character in script.interpreter)
        ):
            problem("script.interpreter", "must be a program and its options, such as `python3 -u`.")
