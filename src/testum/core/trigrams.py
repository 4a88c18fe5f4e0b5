"""Which of thousands of patterns may fit a name, without trying each: a pattern is found by three characters in a row that a name
must have to fit (as PostgreSQL's pg_trgm finds what LIKE looks for)."""

from collections.abc import Iterable

_SIZE = 3


def wanted_by(runs: Iterable[str]) -> str:
    """The first characters of the longest run of a pattern's that stands in each name that fits; "" where any name may."""
    return max(runs, key=len, default="")[:_SIZE]


def had_by(name: str) -> set[str]:
    """Whatever a pattern may want a name to have."""
    return {"", *(name[at : at + size] for at in range(len(name)) for size in range(1, _SIZE + 1))}
