"""Target selection: which platforms a job is for.

Selectors of different kinds narrow each other (`names` within `tags`), because on a fleet the careful
reading is the smaller one; several values of `platform_ids` or `names` add up; several tags must all
be there. `all` stands alone or is narrowed by tags, text and state.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any
from uuid import UUID

from testum.core import ngrams
from testum.errors import FieldProblem, InvalidInput

MAX_VALUES = 10_000
_FEW = 16
"""So many expressions are tried on each name; of more, those that may fit are found first."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What a person asked for. `names` are exact names or patterns with `*`, `?` and `[...]`; `q` is what a list's
    filter looks for (`text_to_like`), `state` a StateFilter, of the state that the last task found."""

    platform_ids: tuple[UUID, ...] = ()
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    all: bool = False
    q: str = ""
    state: str = ""

    def check(self) -> None:
        """Raise InvalidInput unless at least one selector is given and all are usable."""
        if not (self.platform_ids or self.names or self.tags or self.all or self.q or self.state):
            raise InvalidInput(
                "targets: name platforms by platform_ids, names or tags, or say all.",
                code="no_targets",
                fields=[FieldProblem("targets", "no selector is given.")],
            )
        if self.all and (self.platform_ids or self.names):
            raise InvalidInput.field(
                "targets.all", "stands alone or with tags: platforms were named as well."
            )

    def as_json(self) -> dict[str, Any]:
        """What is asked for, as the database and the API have it: what is not asked for is left out."""
        whole: dict[str, Any] = {
            "platform_ids": [str(key) for key in self.platform_ids],
            "names": list(self.names),
            "tags": list(self.tags),
            "all": self.all,
            "q": self.q,
            "state": self.state,
        }
        return {name: value for name, value in whole.items() if value}


def no_match(targets: Targets) -> InvalidInput:
    """The error for a selection that fits no platform, saying what was asked for."""
    asked = [
        *(["all"] if targets.all else []),
        *([f"names {', '.join(targets.names[:5])}"] if targets.names else []),
        *([f"tags {', '.join(targets.tags[:5])}"] if targets.tags else []),
        *([f"text {targets.q}"] if targets.q else []),
        *([f"state {targets.state}"] if targets.state else []),
        *([f"{len(targets.platform_ids)} ids"] if targets.platform_ids else []),
    ]
    return InvalidInput(
        f"No platform matches {' and '.join(asked)}.",
        code="no_targets",
        fields=[FieldProblem("targets", "no platform matches.")],
    )


def no_such(names: Sequence[str]) -> InvalidInput:
    """The error for exact names of which these are no platform's."""
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return InvalidInput(
        f"There is no platform named {shown}.",
        code="no_targets",
        fields=[FieldProblem("targets.names", "no platform has this name.")],
    )


def is_pattern(name: str) -> bool:
    """Whether `name` is a pattern and not an exact name."""
    return any(character in name for character in "*?[")


def name_matcher(names: Sequence[str]) -> Callable[[str], bool]:
    """Whether a name is one of `names` or fits a pattern among them."""
    exact = frozenset(names)
    like: dict[str, list[str]] = {}
    for pattern in filter(is_pattern, exact):
        # A `[` that nothing closes stands for itself; the run ends there all the same.
        runs = re.split(r"[*?]|\[!?\]?[^\]]*\]|\[", pattern)
        like.setdefault(ngrams.wanted_by(runs, like), []).append(translate(pattern))
    # Few expressions, each of many patterns: `fnmatch` keeps 256 compiled ones, and beyond that compiles each again for every name.
    one_of = {wanted: re.compile("|".join(patterns)) for wanted, patterns in like.items()}

    def fits(name: str) -> bool:
        if name in exact:
            return True
        near = ngrams.had_by(name) & one_of.keys() if len(one_of) > _FEW else one_of
        return any(one_of[wanted].match(name) for wanted in near)

    return fits


def pattern_to_like(pattern: str) -> str:
    """A LIKE pattern (escape character `\\`) that matches at least all that `pattern` matches.

    The database uses it to read few rows; `name_matcher` then decides.
    """
    escaped = re.sub(r"([%_\\])", r"\\\1", pattern)
    return re.sub(r"\[!?+\]?+[^\]]*\]|\?", "_", escaped).replace("*", "%").replace("[", "%")


def text_to_like(text: str) -> str | None:
    """The LIKE pattern (escape character `\\`) for a filter's text that has `*` or `?` in it: then it is a pattern for
    a whole name or host. None for text that is looked for as it is."""
    if "*" not in text and "?" not in text:
        return None
    return re.sub(r"([%_\\])", r"\\\1", text).replace("*", "%").replace("?", "_")
