"""`testum selections`: saved selections of platforms."""

from typing import Annotated, Any

import typer

from testum.cli.options import Json, Url, print_fields, print_json, print_table
from testum.cli.targets import Chosen, Everything, On, WithTag
from testum.core.folding import fold

selections = typer.Typer(
    help="Keep, list, show and remove selections of platforms.", no_args_is_help=True, rich_markup_mode=None
)

Reference = Annotated[str, typer.Argument(metavar="NAME|ID")]


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
