"""Capabilities, each declared in one place, and the registry of those that an installation has."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from testum.core.job_kinds import JobKind
from testum.core.permissions import Permission
from testum.errors import NotFound

_Item = TypeVar("_Item")

Action = Callable[[Any], Awaitable[Any]]
"""What a job of a kind does on one platform: from execution.outcome.Context to execution.outcome.Outcome. Whatever it raises ends the
task."""


class Feature:
    """A capability: what it adds to each part of testum.

    A subclass overrides what it has. A method imports what it returns, so that each process loads only what it uses:
    `actions` are loaded where tasks run, and nowhere else.
    """

    name: ClassVar[str]
    """One word: the namespace of all that it adds."""
    permissions: ClassVar[Sequence[Permission]] = ()

    def job_kinds(self) -> Sequence[type[JobKind]]:
        """The kinds of jobs that it adds."""
        return ()

    def actions(self) -> Mapping[str, Action]:
        """What these do, by their names."""
        return {}

    def api(self) -> Sequence[Any]:
        """Routers (fastapi.APIRouter) of the API, below /api/v1. Their paths are nobody else's: no order matters."""
        return ()


class Registry:
    """The features of an installation. Raises RuntimeError where two register the same name."""

    def __init__(self, features: Iterable[Feature]) -> None:
        self.features = _by_name("feature", ((feature.name, feature) for feature in features))
        found = self.features.values()
        self.permissions: Mapping[str, Permission] = _by_name(
            "permission", ((item.name, item) for feature in found for item in feature.permissions)
        )
        self.job_kinds: Mapping[str, type[JobKind]] = _by_name(
            "job kind", ((item.kind, item) for feature in found for item in feature.job_kinds())
        )

    def job_kind(self, name: str) -> type[JobKind]:
        """The kind of this name. Raises NotFound: jobs of a feature that was removed are still in the database."""
        try:
            return self.job_kinds[name]
        except KeyError:
            raise NotFound(f"This testum has no jobs of the type {name}.", code="unknown_type") from None

    def job(self, kind: str, **parameters: Any) -> JobKind:
        """What a job is told, for who knows its kind by name alone. Raises NotFound."""
        make: Callable[..., JobKind] = self.job_kind(kind)
        return make(**parameters)

    def describe(self, kind: str, stored: Mapping[str, Any]) -> str:
        """What a job does, in its own words; empty where its kind says it all, or is not there any more."""
        known = self.job_kinds.get(kind)
        return known.describe(stored) if known is not None else ""

    def danger(self, kind: str, stored: Mapping[str, Any]) -> str | None:
        """The part of a job that looks as if it could not be undone."""
        known = self.job_kinds.get(kind)
        return known.danger(stored) if known is not None else None

    def actions(self) -> dict[str, Action]:
        """What the jobs of each kind do on a platform. Raises RuntimeError where one has no action, or none has it."""
        found = _by_name(
            "action", (item for feature in self.features.values() for item in feature.actions().items())
        )
        if unpaired := found.keys() ^ self.job_kinds.keys():
            raise RuntimeError(f"kinds of jobs and actions do not fit: {', '.join(sorted(unpaired))}")
        return found


def _by_name(what: str, items: Iterable[tuple[str, _Item]]) -> dict[str, _Item]:
    found: dict[str, _Item] = {}
    for name, item in items:
        if name in found:
            raise RuntimeError(f"two features register the {what} {name}")
        found[name] = item
    return found
