"""Which of thousands of patterns may fit a name, without trying each: a pattern is found by the characters in a row (an n-gram)
that a name must have to fit it, as PostgreSQL's pg_trgm finds what LIKE looks for."""

from collections.abc import Iterable
from functools import lru_cache

_SIZE = 8


def wanted_by(runs: Iterable[str]) -> str:
    """The first characters of the longest run of a pattern's that stands in each name that fits; "" where any name may."""
    return max(runs, key=len, default="")[:_SIZE]


@lru_cache(16)
def had_by(name: str) -> frozenset[str]:
    """Whatever a pattern may want a name to have. Many lists of patterns are asked about one name after the other."""
    return frozenset({"", *(name[at : at + size] for at in range(len(name)) for size in range(1, _SIZE + 1))})
