"""The routers of features beside those of the core."""

from collections.abc import Sequence
from itertools import chain, combinations

from fastapi import APIRouter
from starlette.routing import BaseRoute, Route


def with_features(core: Sequence[APIRouter], features: Sequence[APIRouter]) -> list[APIRouter]:
    """All of them, in any order: raises RuntimeError where a feature's route would answer for another router's, or another's
    for it."""
    pairs = chain(((one, other) for one in core for other in features), combinations(features, 2))
    for one, other in pairs:
        for first in one.routes:
            for second in other.routes:
                if _overlap(first, second):
                    raise RuntimeError(f"{first.path} and {second.path} are answered by two routers")  # type: ignore[attr-defined]
    return [*core, *features]


def _overlap(one: BaseRoute, other: BaseRoute) -> bool:
    """Whether an address may be of both."""
    if not (isinstance(one, Route) and isinstance(other, Route)):
        return False
    if not (one.methods or set()) & (other.methods or set()):
        return False
    return bool(one.path_regex.match(other.path) or other.path_regex.match(one.path))
