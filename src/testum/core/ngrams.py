"""Which of thousands of patterns may fit a name, without trying each: a pattern is found by the characters in a row (an n-gram)
that a name must have to fit it, as PostgreSQL's pg_trgm finds what LIKE looks for."""

from collections.abc import Iterable, Mapping, Sized
from functools import lru_cache

_SIZES = (1, 3, 8)


def wanted_by(runs: Iterable[str], index: Mapping[str, Sized]) -> str:
    """The n-gram by which a pattern is to be found in the index: of the beginnings of its runs, which all stand in each name
    that fits, the one by which fewest others are found, and of these the longest. "" where any name may fit."""
    beginnings = [run[: max(size for size in _SIZES if size <= len(run))] for run in runs if run]
    return min(beginnings, key=lambda ngram: (len(index.get(ngram, ())), -len(ngram)), default="")


@lru_cache(16)
def had_by(name: str) -> frozenset[str]:
    """Whatever a pattern may want a name to have. Many lists of patterns are asked about one name after the other."""
    return frozenset({"", *(name[at : at + size] for size in _SIZES for at in range(len(name) - size + 1))})
