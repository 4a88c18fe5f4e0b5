"""Saved selections: platforms that a team chooses together again and again, under a name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from testum.core.feature import Feature, Part
from testum.core.permissions import Permission, Role
from testum.translation import N_

READ = Permission("selections:read", Role.VIEWER)
WRITE = Permission("selections:write", Role.OPERATOR)


class SavedSelections(Feature):
    """The capability."""

    name: ClassVar[str] = "selections"
    permissions: ClassVar[Sequence[Permission]] = (READ, WRITE)
    audit_actions: ClassVar[Mapping[str, str]] = {
        "selection.create": N_("Save a selection"),
        "selection.update": N_("Change a selection"),
        "selection.delete": N_("Delete a selection"),
        "selection.read": N_("Read selections"),
    }
    audit_objects: ClassVar[Mapping[str, str]] = {"selection": N_("Selection")}
    messages: ClassVar[Sequence[str]] = (
        N_("There is no such selection: somebody may have deleted it."),
        N_("A selection named %(name)s is there already."),
        N_("%(user)s has changed %(name)s meanwhile. Look at it again."),
        N_("There are %(most)s saved selections already: delete one first."),
        N_("platforms of %(name)s are gone: %(names)s. Save it anew."),
        N_("stand alone: what they fit was given as well."),
    )
    templates: ClassVar[Path | None] = Path(__file__).parent / "templates"

    def services(self, testum: Any) -> Mapping[type, Any]:
        from testum.core.platform_sets import PlatformSets
        from testum.features.selections.service import Selections

        service = Selections(testum.database, testum.gate)
        return {Selections: service, PlatformSets: service}

    def load_tables(self) -> None:
        from testum.features.selections import store  # noqa: F401 - it defines them

    def api(self) -> Sequence[Any]:
        from testum.features.selections import api

        return (api.router,)

    def pages(self) -> Sequence[Any]:
        from testum.features.selections import pages

        return (pages.router,)

    def parts(self) -> Mapping[str, Part]:
        from testum.features.selections.pages import card

        return {"run": Part("selections/run.html", card)}

    def commands(self) -> Mapping[str, Any]:
        from testum.features.selections.cli import selections

        return {"selections": selections}
