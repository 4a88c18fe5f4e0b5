"""`testum selections`: saved selections of platforms, and which platforms a command is for."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from testum.cli.failures import WrongUse
from testum.cli.options import Json, Url, print_fields, print_json, print_table
from testum.core.folding import expand, fold

if TYPE_CHECKING:
    from testum.cli.api import Api

selections = typer.Typer(
    help="Keep, list, show and remove selections of platforms.", no_args_is_help=True, rich_markup_mode=None
)

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
Reference = Annotated[str, typer.Argument(metavar="NAME|ID")]


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


@selections.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    on: On = None,
    tag: WithTag = None,
    everything: Everything = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Keep a selection. Platforms that are added later and fit belong to it."""
    from testum.cli.api import Api

    chosen = Chosen(on, tag, everything, None)
    with Api(url) as api:
        kept = api.post("/selections/", {"name": name, "targets": chosen.targets(api)})
    if as_json:
        print_json(kept)
    else:
        print(f"Kept selection {kept['name']} ({kept['id']}).")


@selections.command("list")
def list_selections(url: Url = None, as_json: Json = False) -> None:
    """Show all selections."""
    from testum.cli.api import Api

    with Api(url) as api:
        found = list(api.pages("/selections/"))
    if as_json:
        print_json(found)
        return
    rows = [(item["name"], _what(item), item.get("created_by"), item["id"]) for item in found]
    print_table(("NAME", "SELECTS", "BY", "ID"), rows)


@selections.command()
def show(selection: Reference, url: Url = None, as_json: Json = False) -> None:
    """Show one selection, and the platforms that it selects now."""
    from testum.cli.api import Api, find

    with Api(url) as api:
        item = api.get(f"/selections/{find(api, 'selections', selection)['id']}")
        if as_json:
            print_json(item)
            return
        selected = set(item["platform_ids"])
        names = [platform["name"] for platform in api.pages("/platforms/") if platform["id"] in selected]
    gone = [name for kind in ("platforms", "names", "tags") for name in item["gone"][kind]]
    fields = item | {"selects": _what(item), "platforms": fold(names), "is gone": gone}
    print_fields(fields, ("id", "name", "selects", "platforms", "is gone", "created_by", "updated_by"))


@selections.command()
def remove(selection: Reference, url: Url = None, as_json: Json = False) -> None:
    """Remove a selection. Its platforms stay."""
    from testum.cli.api import Api, find

    with Api(url) as api:
        answer = api.delete(f"/selections/{find(api, 'selections', selection)['id']}")
    if as_json:
        print_json(answer)
    else:
        print(f"Removed selection {selection}.")


def _what(item: dict[str, Any]) -> str:
    """What it asks of a platform, as the options of `add` say it."""
    if item["picked"]:
        return f"{item['picked']} platforms, one by one"
    asked = item["criteria"]
    words = [
        *(["all"] if asked["all"] else []),
        *asked["names"],
        *(f"tag {tag}" for tag in asked["tags"]),
        *([f"text {asked['q']}"] if asked["q"] else []),
        *([f"state {asked['state']}"] if asked["state"] else []),
    ]
    return ", ".join(words)
