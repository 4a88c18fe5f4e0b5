"""Which of thousands of patterns may fit a name, without trying each: a pattern is found by the characters in a row (an n-gram)
that a name must have to fit it, as PostgreSQL's pg_trgm finds what LIKE looks for."""

from collections.abc import Iterable, Mapping, Sized
from functools import lru_cache

_SIZES = (1, 3, 8)


def candidates(runs: Iterable[str]) -> list[str]:
    """One of each run of a pattern's that stands in each name that fits, the longest first; none where any name may."""
    found = {run[: max(size for size in _SIZES if size <= len(run))] for run in runs if run}
    return sorted(found, key=len, reverse=True)


def wanted_by(runs: Iterable[str], taken: Mapping[str, Sized]) -> str:
    """The one by which a pattern is found, where others are found by those that are `taken`: the one that fewest want. ""
    where any name may fit."""
    return min(candidates(runs), key=lambda ngram: len(taken.get(ngram, ())), default="")


@lru_cache(16)
def had_by(name: str) -> frozenset[str]:
    """Whatever a pattern may want a name to have. Many lists of patterns are asked about one name after the other."""
    return frozenset({"", *(name[at : at + size] for size in _SIZES for at in range(len(name) - size + 1))})
