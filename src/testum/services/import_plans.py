"""The plan of an import: what is to be done about each host of the list, and how to log in where that does not say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from testum.core.inventory import Problem


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in where the list does not say."""

    username: str = ""
    key_id: UUID | None = None
    password: str = field(default="", repr=False)


@dataclass(slots=True)
class Step:
    """What is to be done about one host of the list: `add`, `change`, `same`, or nothing because of a `problem`."""

    name: str
    line: int
    kind: str
    address: str = ""
    via: str = ""
    tags: Sequence[str] = ()
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """For `change`: the fields, each as it is and as it would be."""
    message: str = ""
    """What the problem is; several are on a line each."""


@dataclass(slots=True)
class Plan:
    """All steps in the order of the list, lines that could not be used, and things left out on purpose."""

    steps: list[Step]
    problems: list[Problem]
    notes: list[Problem]

    def number(self, kind: str) -> int:
        """How many steps are of a kind."""
        return sum(step.kind == kind for step in self.steps)
