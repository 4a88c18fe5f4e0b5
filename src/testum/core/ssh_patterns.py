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
_LONG = 64
_STEPS = 300
"""So many characters are compared in the time that one comparison of short texts takes."""
_FEW = 16


class _Pattern:
    """One pattern with `*` or `?`."""

    __slots__ = ("_first", "_last", "_like", "_middle", "_shortest", "negated", "searched")

    def __init__(self, written: str) -> None:
        self.negated = written.startswith("!")
        pattern = written.removeprefix("!")
        # Parts of texts are found far sooner than a regular expression is. Of fnmatch's signs OpenSSH knows two.
        self._like = (
            re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match if "?" in pattern else None
        )
        parts = pattern.split("*")
        self._first, self._middle, self._last = parts[0], parts[1:-1], parts[-1]
        self._shortest = len(self._first) + len(self._last)
        self.searched = len(pattern) if self._like or self._middle else 0
        """How many characters may be looked for at each place of a name."""

    def fits(self, name: str) -> bool:
        """Whether it fits a name."""
        if self._like is not None:
            return self._like(name) is not None
        if not (name.startswith(self._first) and name.endswith(self._last) and len(name) >= self._shortest):
            return False
        at, end = len(self._first), len(name) - len(self._last)
        for part in self._middle:
            if (found := name.find(part, at, end)) < 0:
                return False
            at = found + len(part)
        return True


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
        runs = [_runs(pattern) for pattern in self._written if not pattern.startswith("!")]
        self.runs = runs if all(map(any, runs)) else None
        """The texts between the wildcards of each pattern: a name that fits has all of those of one pattern. None where a pattern
        has none, so that any name may fit."""
        self.weight = sum(1 + len(pattern) // _SHORT for pattern in self._written)
        """How many short patterns they are worth."""

    # What is compared is not made before it is wanted: to compile takes longer than to compare.
    @cached_property
    def _like(self) -> list[_Pattern]:
        return [_Pattern(written) for written in self._written]

    @cached_property
    def _like_by_ngram(self) -> dict[str, list[_Pattern]]:
        """By what a name must have."""
        found: dict[str, list[_Pattern]] = {}
        for written, pattern in zip(self._written, self._like, strict=True):
            found.setdefault(ngrams.wanted_by(_runs(written.removeprefix("!")), found), []).append(pattern)
        return found

    @cached_property
    def _searched(self) -> int:
        return sum(pattern.searched for pattern in self._like)

    def fit(self, name: str, look: Callable[[int], None]) -> bool:
        """Whether they fit a name. `look` is told how many comparisons of short texts that takes."""
        if name in self._never:
            return False
        fits = name in self.names
        if not self._written:
            return fits
        found, searched = self._like, self._searched
        if len(found) > _FEW:
            # Of thousands few are compared.
            look(len(found) // _FEW + (len(name) if len(name) > _LONG else 0))
            near = ngrams.had_by(name) & self._like_by_ngram.keys()
            found = [each for wanted in near for each in self._like_by_ngram[wanted]]
            searched = sum(pattern.searched for pattern in found)
        look(len(found) + searched * len(name) // _STEPS)
        for pattern in found:
            if pattern.fits(name):
                if pattern.negated:
                    return False
                fits = True
        return fits


def _runs(pattern: str) -> list[str]:
    return re.split(r"[*?]+", pattern)
