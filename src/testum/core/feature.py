"""Capabilities, each declared in one place, and the registry of those that an installation has."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from testum.core.permissions import Permission
from testum.errors import NotFound

if TYPE_CHECKING:
    # Loads pydantic, which the command line has no use for.
    from testum.core.job_kinds import JobKind

_Key = TypeVar("_Key")
_Item = TypeVar("_Item")

Action = Callable[[Any], Awaitable[Any]]
"""What a job of a kind does on one platform: from execution.outcome.Context to execution.outcome.Outcome. Whatever it raises ends the
task."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a feature adds to a page of others: a template, and what fills it, from web.pages.view.PageView to values by
    name."""

    template: str
    fill: Callable[[Any], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """A line of the main menu: `section` is what a page's `section` is called (web.pages.view.View.render), `icon` one of
    frontend/src/icons.txt. Shown to who has the permission."""

    section: str
    label: str
    address: str
    icon: str
    permission: Permission


class Feature:
    """A capability: what it adds to each part of testum.

    A subclass overrides what it has. A method imports what it returns, so that each process loads only what it uses:
    `actions` are loaded where tasks run, `commands` by the command line, and nowhere else.
    """

    name: ClassVar[str]
    """One word: the namespace of all that it adds."""
    permissions: ClassVar[Sequence[Permission]] = ()
    audit_actions: ClassVar[Mapping[str, str]] = {}
    """What the audit log calls what it does: `object.verb` to words, which are translated where they are shown."""
    audit_objects: ClassVar[Mapping[str, str]] = {}
    """What the audit log calls its objects."""
    task_errors: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Its codes of why a task failed: what that means in a few words, and what to do about it."""
    menu: ClassVar[Sequence[MenuEntry]] = ()
    messages: ClassVar[Sequence[str]] = ()
    """The sentences of its errors, with `%(name)s` where they differ."""
    templates: ClassVar[Path | None] = None
    """The folder of its templates. Their names in includes begin with its own name and a slash."""

    def job_kinds(self) -> "Sequence[type[JobKind]]":
        """The kinds of jobs that it adds."""
        return ()

    def actions(self) -> Mapping[str, Action]:
        """What these do, by their names."""
        return {}

    def services(self, testum: Any) -> Mapping[type, Any]:
        """Its use cases in one testum.app.Testum, by their classes and by the protocols of the core that they fulfil."""
        return {}

    def load_tables(self) -> None:
        """Import its tables (testum.db.base.Base)."""

    def api(self) -> Sequence[Any]:
        """Routers (fastapi.APIRouter) of the API, below /api/v1. Their paths are nobody else's: no order matters."""
        return ()

    def pages(self) -> Sequence[Any]:
        """Routers of its pages (web.pages.route.page_router), for which the same holds."""
        return ()

    def parts(self) -> Mapping[str, Part]:
        """What it adds to the pages of others, by the name of the place (web.pages.view.View.parts)."""
        return {}

    def commands(self) -> Mapping[str, Any]:
        """Groups of commands (typer.Typer) of the command line, by their names."""
        return {}


class Registry:
    """The features of an installation. Raises RuntimeError where two register the same name."""

    def __init__(self, features: Iterable[Feature]) -> None:
        self.features = _by_name("feature", ((feature.name, feature) for feature in features))
        found = self._found = list(self.features.values())
        self.permissions: Mapping[str, Permission] = _by_name(
            "permission", ((item.name, item) for feature in found for item in feature.permissions)
        )
        self.job_kinds: Mapping[str, type[JobKind]] = _by_name(
            "job kind", ((item.kind, item) for feature in found for item in feature.job_kinds())
        )
        self.audit_actions: Mapping[str, str] = _by_name(
            "action of the audit log", (item for feature in found for item in feature.audit_actions.items())
        )
        self.audit_objects: Mapping[str, str] = _by_name(
            "object of the audit log", (item for feature in found for item in feature.audit_objects.items())
        )
        self.task_errors: Mapping[str, tuple[str, str]] = _by_name(
            "error of tasks", (item for feature in found for item in feature.task_errors.items())
        )
        self.menu: Sequence[MenuEntry] = list(
            _by_name(
                "section of the menu", ((entry.section, entry) for feature in found for entry in feature.menu)
            ).values()
        )
        self.messages: Sequence[str] = [message for feature in found for message in feature.messages]

    def services(self, testum: Any) -> Mapping[type, Any]:
        """The use cases of all features in one testum.app.Testum."""
        return _by_name(
            "service", (item for feature in self._found for item in feature.services(testum).items())
        )

    def load_tables(self) -> None:
        """Import the tables of all features, for who needs all that there are."""
        for feature in self._found:
            feature.load_tables()

    def api(self) -> Sequence[Any]:
        """Routers of the API of all features."""
        return [router for feature in self._found for router in feature.api()]

    def pages(self) -> Sequence[Any]:
        """Routers of the pages of all features."""
        return [router for feature in self._found for router in feature.pages()]

    def parts(self, place: str) -> Sequence[Part]:
        """What features add to a place of a page, in their order."""
        return [parts[place] for feature in self._found if place in (parts := feature.parts())]

    def job_kind(self, name: str) -> "type[JobKind]":
        """The kind of this name. Raises NotFound: jobs of a feature that was removed are still in the database."""
        try:
            return self.job_kinds[name]
        except KeyError:
            raise NotFound(f"This testum has no jobs of the type {name}.", code="unknown_type") from None

    def job(self, kind: str, **parameters: Any) -> "JobKind":
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
        found = _by_name("action", (item for feature in self._found for item in feature.actions().items()))
        if unpaired := found.keys() ^ self.job_kinds.keys():
            raise RuntimeError(f"kinds of jobs and actions do not fit: {', '.join(sorted(unpaired))}")
        return found


def _by_name(what: str, items: Iterable[tuple[_Key, _Item]]) -> dict[_Key, _Item]:
    found: dict[_Key, _Item] = {}
    for name, item in items:
        if name in found:
            raise RuntimeError(f"two features register the {what} {name}")
        found[name] = item
    return found
