"""`testum platforms`: the hosts that jobs run on."""

from dataclasses import asdict
from typing import Annotated

import typer

from testum.cli.account import read_secret
from testum.cli.addresses import address_of
from testum.cli.failures import OK, SOME_FAILED
from testum.cli.host_keys import accept_key, test
from testum.cli.options import Json, Url, print_fields, print_json, print_table
from testum.cli.platform_editing import add, edit
from testum.cli.platform_options import KeyName, Reference, Tags


def list_platforms(
    q: Annotated[
        str | None, typer.Option("--search", "-q", metavar="TEXT", help="Only those with it.")
    ] = None,
    tag: Tags = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show platforms."""
    from testum.cli.api import Api

    with Api(url) as api:
        # The server filters by one tag; the others are looked for here.
        found = [
            item
            for item in api.pages("/platforms/", q=q, tag=tag[0] if tag else None)
            if set(tag or []) <= set(item["tags"])
        ]
    if as_json:
        print_json(found)
        return
    rows = [(item["name"], address_of(item), item["auth_method"], item.get("tags")) for item in found]
    print_table(("NAME", "ADDRESS", "LOGIN", "TAGS"), rows)


def show(platform: Reference, url: Url = None, as_json: Json = False) -> None:
    """Show one platform."""
    from testum.cli.api import Api, find

    with Api(url) as api:
        item = find(api, "platforms", platform)
    if as_json:
        print_json(item)
        return
    fields = (
        "id", "name", "host", "port", "username", "auth_method", "zone", "tags", "description",
        "jump_platform_id", "known_host_fingerprint", "old_algorithms", "created_at",
    )  # fmt: skip
    print_fields(item, fields)


def remove(platform: Reference, url: Url = None, as_json: Json = False) -> None:
    """Remove a platform. What ran on it is kept."""
    from testum.cli.api import Api, find

    with Api(url) as api:
        answer = api.delete(f"/platforms/{find(api, 'platforms', platform)['id']}")
    if as_json:
        print_json(answer)
    else:
        print(f"Removed {platform}.")


def import_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="- reads stdin.")],
    format: Annotated[
        str | None, typer.Option(metavar="csv|ssh-config|ansible", help="Judged by the file if not given.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    username: Annotated[
        str | None,
        typer.Option("--username", "-u", metavar="USER", help="Where the file names none; else your own."),
    ] = None,
    key: KeyName = None,
    ask_password: Annotated[
        bool, typer.Option("--ask-password", help="Ask once for the password of those without credentials.")
    ] = False,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="For all of them; may be repeated.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Change those that are there and differ.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Add the platforms that a file describes.

    It may be a CSV file, an OpenSSH client configuration or an Ansible inventory.

    What is there already is left alone without --update. A line with a problem costs only itself; the status is then 1.
    """
    from getpass import getuser

    from testum.cli.api import Api, find
    from testum.cli.importing import KEPT_BACK, Rows, read_inventory, tell

    inventory, directory = read_inventory(file, format)
    with Api(url) as api:
        known = {item["name"] for item in api.pages("/platforms/")}
        rows = Rows(directory, by_default=key is None and not ask_password, dry_run=dry_run)
        for draft in inventory.drafts:
            rows.add(draft, known=draft.name in known and not update)
        password = ""
        if ask_password:
            password = KEPT_BACK if dry_run else read_secret("Password of those without credentials")
        body = {
            "hosts": rows.hosts,
            "keys": rows.keys,
            "username": username or getuser(),
            "key_id": find(api, "keys", key)["id"] if key else None,
            "password": password,
            "tags": tag or [],
            "dry_run": dry_run,
            "update": update,
        }
        plan = api.post("/platforms/import", body)
    # What could not be read did not leave this machine.
    plan["problems"] = [asdict(problem) for problem in inventory.problems] + plan["problems"]
    plan["notes"] = [asdict(note) for note in inventory.notes] + plan["notes"]
    if rows.default_key is not None:
        # It is a secret of the person's own, and goes to the server.
        message = f"hosts of which nothing is said log in with {rows.default_key}, which is uploaded"
        plan["notes"].append({"line": 0, "message": message, "name": "", "file": ""})
    if as_json:
        print_json(plan)
    else:
        tell(plan, update=update, say=print)
    raise typer.Exit(SOME_FAILED if plan["problem"] or plan["problems"] else OK)


platforms = typer.Typer(
    help="Add, list, show, edit, test, remove and import platforms.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
# --help lists them in this order.
platforms.command()(add)
platforms.command("list")(list_platforms)
platforms.command()(show)
platforms.command()(edit)
platforms.command()(test)
platforms.command("accept-key")(accept_key)
platforms.command()(remove)
platforms.command("import")(import_file)
