"""The options that say which platforms a command is for."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from testum.cli.failures import WrongUse
from testum.core.folding import expand

if TYPE_CHECKING:
    from testum.cli.api import Api

On = Annotated[
    list[str] | None,
    typer.Option("--on", metavar="NAMES", help="Platforms: web1,db*,web[01-12]; may be repeated."),
]
WithTag = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="Only those with this tag; may be repeated."),
]
Everything = Annotated[bool, typer.Option("--all", help="All platforms, or all with the given tags.")]
Selection = Annotated[
    str | None,
    typer.Option("--selection", metavar="NAME", help="The platforms of a saved selection, and no others."),
]


class Chosen:
    """The platforms that a command's options name. Raises WrongUse where they contradict each other, or name none."""

    def __init__(
        self, on: list[str] | None, tag: list[str] | None, everything: bool, selection: str | None
    ) -> None:
        if selection is not None and (on or tag or everything):
            raise WrongUse("--selection stands alone: leave out --on, --tag and --all.")
        self._selection = selection
        self._targets = _targets(on or [], tag or [], everything=everything) if selection is None else {}

    def targets(self, api: "Api") -> dict[str, Any]:
        """What a job's `targets` are. Raises WrongUse for a selection that is not there."""
        if self._selection is None:
            return self._targets
        found = api.get("/selections/", name=self._selection)
        if not found:
            raise WrongUse(f"There is no saved selection named {self._selection}.")
        return {"selection_id": found[0]["id"]}


def _targets(names: list[str], tags: list[str], *, everything: bool) -> dict[str, Any]:
    if not (names or tags or everything):
        raise WrongUse("Where? Name platforms with --on, --tag, --selection or --all.")
    if names and everything:
        raise WrongUse("--all and --on contradict each other.")
    targets: dict[str, Any] = {}
    try:
        if names:
            targets["names"] = [name for text in names for name in expand(text)]
    except ValueError as error:
        raise WrongUse(f"--on {error}.") from None
    if names and not targets["names"]:
        raise WrongUse("--on: no name is given.")
    if tags:
        targets["tags"] = tags
    if everything:
        targets["all"] = True
    return targets
