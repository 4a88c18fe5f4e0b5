"""The kinds of jobs that run a program: a command, or a script."""

import shlex
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from testum.core.danger import looks_destructive
from testum.core.job_kinds import JobKind, Problem
from testum.core.permissions import JOBS_RUN, Permission
from testum.core.script_text import for_shell
from testum.translation import N_

MAX_COMMAND = 128 * 1024 - 1024
"""Bytes of a command: Linux takes at most 128 KiB in one argument (MAX_ARG_STRLEN, execve(2))."""
MAX_SCRIPT = 1024 * 1024
_MOST_AUDITED = 2000

Environment = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=200)],
        Annotated[str, StringConstraints(max_length=32_768)],
    ],
    Field(max_length=100, description="Kept sealed, and never on a command line."),
]

_NOT_SENT = "must not contain a NUL character or half a surrogate pair."


def _can_be_sent(text: str) -> bool:
    """Whether the text can be an argument or a file on the host: JSON's `\\ud800` has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


class Script(BaseModel):
    """A program; its text goes to the interpreter over stdin, never onto a command line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    interpreter: Annotated[str, StringConstraints(min_length=1, max_length=500)] = "/bin/sh"
    arguments: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=32_768)], ...], Field(max_length=100)
    ] = ()

    def find_problems(self, problem: Problem) -> None:
        """Tell what cannot be sent to a host, or run there."""
        if not self.text.strip():
            problem("script", "is needed.")
        if not _can_be_sent(self.text):
            problem("script.text", _NOT_SENT)
        if len(self.text.encode("utf-8", "surrogatepass")) > MAX_SCRIPT:
            problem("script.text", f"is over {MAX_SCRIPT} bytes.")
        if not all(_can_be_sent(argument) for argument in self.arguments):
            problem("script.arguments", _NOT_SENT)
        try:
            words = shlex.split(self.interpreter)
        except ValueError:
            words = []
        if (
            not words
            or not _can_be_sent(self.interpreter)
            or any(ord(character) < 32 for character in self.interpreter)
        ):
            problem("script.interpreter", "must be a program and its options, such as `python3 -u`.")


class StoredScript(Script):
    """A script as its job keeps it. `converted`: whether its text was changed for a shell (`for_shell`)."""

    converted: bool = False


class _Program(JobKind):
    """What the two have in common: settings for the program's environment."""

    permission: ClassVar[Permission] = JOBS_RUN

    environment: Environment = Field(default={})

    def find_problems(self, problem: Problem) -> None:
        for name, value in self.environment.items():
            if not (name.isascii() and name.isidentifier()):
                problem("environment", "names are letters, digits and underscores, not first a digit.")
            if not _can_be_sent(value):
                problem("environment", f"values {_NOT_SENT}")

    def stored(self) -> dict[str, Any]:
        return {"environment_names": sorted(self.environment)} if self.environment else {}

    def secrets(self) -> dict[str, str]:
        return self.environment

    @classmethod
    def danger(cls, stored: Mapping[str, Any]) -> str | None:
        return looks_destructive(cls.describe(stored))


class RunCommand(_Program):
    """A command in the login shell of each platform's account, as `ssh host command` runs it."""

    kind: ClassVar[str] = "run_command"
    title: ClassVar[str] = N_("Command")
    action: ClassVar[str] = N_("Run a command")

    command: str

    def find_problems(self, problem: Problem) -> None:
        if not self.command.strip():
            problem("command", "is needed.")
        if not _can_be_sent(self.command):
            problem("command", _NOT_SENT)
        if len(self.command.encode("utf-8", "surrogatepass")) > MAX_COMMAND:
            problem("command", f"is over {MAX_COMMAND} bytes; run it as a script.")
        super().find_problems(problem)

    def stored(self) -> dict[str, Any]:
        return {"command": self.command, **super().stored()}

    @classmethod
    def restored(cls, stored: Mapping[str, Any], secrets: Mapping[str, str]) -> Self:
        return cls.model_construct(command=stored["command"], environment=dict(secrets))

    @classmethod
    def describe(cls, stored: Mapping[str, Any]) -> str:
        return str(stored["command"])

    @classmethod
    def audited(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        return {**stored, "command": stored["command"][:_MOST_AUDITED]}


class RunScript(_Program):
    """A program whose text goes to its interpreter over stdin."""

    kind: ClassVar[str] = "run_script"
    title: ClassVar[str] = N_("Script")
    action: ClassVar[str] = N_("Run a script")

    script: Script

    def find_problems(self, problem: Problem) -> None:
        self.script.find_problems(problem)
        super().find_problems(problem)

    def prepared(self) -> Self:
        script = self.script
        text = for_shell(script.text, script.interpreter)
        kept = StoredScript(
            text=text,
            interpreter=script.interpreter,
            arguments=script.arguments,
            converted=text != script.text,
        )
        return self.model_copy(update={"script": kept})

    def stored(self) -> dict[str, Any]:
        return {"script": self.script.model_dump(mode="json"), **super().stored()}

    @classmethod
    def restored(cls, stored: Mapping[str, Any], secrets: Mapping[str, str]) -> Self:
        # Jobs of earlier releases do not say whether the text was converted.
        return cls.model_construct(
            script=StoredScript.model_construct(**{"converted": False, **stored["script"]}),
            environment=dict(secrets),
        )

    @classmethod
    def describe(cls, stored: Mapping[str, Any]) -> str:
        return str(stored["script"]["text"])

    @classmethod
    def audited(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in stored.items() if name != "script"}
        return {**rest, "interpreter": stored["script"]["interpreter"]}
