"""Kinds of jobs: what each takes, who may start one, and what is shown of it. The kinds that there are say the capabilities
(core/feature.py)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from testum.core.permissions import Permission
from testum.errors import FieldProblem, Problems

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

MAX_TIMEOUT = 7 * 86_400.0
MAX_CONCURRENCY = 1000

Problem = Callable[[str, str], None]
"""Takes note of what is wrong: a field's name, and a sentence about it without its subject."""


class RerunOf(StrEnum):
    """Which of a job's tasks a rerun takes: all, those that did not succeed, or those that never ended."""

    ALL = "all"
    FAILED = "failed"
    UNFINISHED = "unfinished"


class JobKind(BaseModel):
    """A kind of job; an instance is what one job of it is told, apart from where and for how long.

    The fields are the parameters. `kind` is the name in the API and in the database, `title` what lists call such a job,
    `action` what the audit log calls its start (both are translated where they are shown).
    """

    model_config = ConfigDict(frozen=True)

    kind: ClassVar[str]
    title: ClassVar[str]
    action: ClassVar[str]
    permission: ClassVar[Permission]

    def find_problems(self, problem: Problem) -> None:
        """Tell every field that breaks a rule which its type does not show."""

    def prepared(self) -> Self:
        """The parameters as the job keeps them."""
        return self

    async def check_names(self, session: "AsyncSession") -> None:
        """Raise InvalidInput where the parameters name what is not there; within the transaction that accepts the job."""

    async def load(self, session: "AsyncSession") -> Any:
        """What the tasks of such a job need of the database, read once for all of them."""
        return None

    def stored(self) -> dict[str, Any]:
        """What of it is kept in clear and may be read by all, as JSON; `restored` reads it."""
        return self.model_dump(mode="json", exclude_none=True)

    def secrets(self) -> dict[str, str]:
        """What of it is kept sealed."""
        return {}

    @classmethod
    def restored(cls, stored: Mapping[str, Any], secrets: Mapping[str, str]) -> Self:
        """The parameters of a job, from what it has kept. Rules may be other ones by now: nothing is checked."""
        return cls.model_construct(**stored)

    @classmethod
    def describe(cls, stored: Mapping[str, Any]) -> str:
        """What a job does, in its own words; empty where the kind says it all."""
        return ""

    @classmethod
    def danger(cls, stored: Mapping[str, Any]) -> str | None:
        """The part of it that looks as if it could not be undone; a person is asked a second time then."""
        return None

    @classmethod
    def audited(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        """What the audit log says of its start."""
        return dict(stored)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job is to do, apart from where. Times in seconds; None leaves the choice to the settings."""

    parameters: JobKind
    timeout: float | None = None
    idle_timeout: float | None = None
    concurrency: int | None = None

    def check(self) -> None:
        """Raise InvalidInput that names every field that breaks a rule."""
        problems = Problems()

        def problem(name: str, message: str) -> None:
            problems.found.append(FieldProblem(name, message))

        self.parameters.find_problems(problem)
        for name, seconds in (("timeout", self.timeout), ("idle_timeout", self.idle_timeout)):
            if seconds is not None and not 0 < seconds <= MAX_TIMEOUT:
                problem(name, f"must be more than 0 and at most {MAX_TIMEOUT:.0f} seconds.")
        if self.concurrency is not None and not 1 <= self.concurrency <= MAX_CONCURRENCY:
            problem("concurrency", f"must be from 1 to {MAX_CONCURRENCY}.")
        problems.check()
