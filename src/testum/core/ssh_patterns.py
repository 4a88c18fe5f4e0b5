"""Lists of patterns as OpenSSH reads them (ssh_config(5), PATTERNS): thousands are held against thousands of names."""

import fnmatch
import re
from collections.abc import Callable, Sequence
from functools import cached_property

from testum.core import ngrams
from testum.core.ssh_lines import Unreadable

_LONGEST = 1_000
"""Characters of a name or pattern. ssh refuses names of more than 1,025 (NI_MAXHOST)."""
_SHORT = 32
_FEW = 16


class Patterns:
    """What one of them must fit, and none with `!` may (match_pattern_list()): `*` and `?` are all there is, case counts."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises Unreadable."""
        if max(map(len, patterns), default=0) > _LONGEST:
            raise Unreadable(f"a name or pattern has more than {_LONGEST} characters")
        each = set(patterns)
        self._written = [pattern for pattern in each if "*" in pattern or "?" in pattern]
        plain = each.difference(self._written)
        self._never = frozenset(pattern[1:] for pattern in plain if pattern.startswith("!"))
        self.names = frozenset(pattern for pattern in plain if not pattern.startswith("!"))
        """What fits as it is written."""
        wanted = {_wanted(pattern) for pattern in self._written if not pattern.startswith("!")}
        self.ngrams = None if "" in wanted else wanted
        """Of what else fits, each has one of these (ngrams.py); None where anything may fit."""
        self.weight = sum(map(weight, self._written))
        """How many short patterns they are worth."""

    @cached_property
    def _like(self) -> dict[str, list[tuple[bool, re.Pattern[str], int]]]:
        """By what a name must have. Not made before they are wanted: to compile takes longer than to compare."""
        like: dict[str, list[tuple[bool, re.Pattern[str], int]]] = {}
        for written in self._written:
            pattern = written.removeprefix("!")
            # Of fnmatch's signs OpenSSH knows two.
            compiled = re.compile(fnmatch.translate(pattern.replace("[", "[[]")))
            like.setdefault(_wanted(pattern), []).append((written.startswith("!"), compiled, weight(pattern)))
        return like

    def fit(self, name: str, look: Callable[[int], None]) -> bool:
        """Whether they fit a name. `look` is told how many comparisons with a short name that takes."""
        fits = name in self.names
        if name in self._never:
            return False
        if not self._written:
            return fits
        # Of thousands few are compared.
        near = ngrams.had_by(name) & self._like.keys() if len(self._like) > _FEW else self._like
        found = [each for wanted in near for each in self._like[wanted]]
        look(len(near) + weight(name) * sum(cost for _, _, cost in found))
        for negated, like, _ in found:
            if like.match(name):
                if negated:
                    return False
                fits = True
        return fits


def _wanted(pattern: str) -> str:
    return ngrams.wanted_by(re.split(r"[*?]+", pattern))


def weight(text: str) -> int:
    """What a name or a pattern costs beside a short one."""
    return 1 + len(text) // _SHORT
