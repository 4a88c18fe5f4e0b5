"""`testum audit`: who did what."""

from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from testum.cli.options import Json, Url, print_json, print_table


class Outcome(StrEnum):
    """How it ended."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    FAILED = "failed"


def audit(
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Only what this account did.")] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only this, as platform.update.")
    ] = None,
    object_id: Annotated[
        str | None,
        typer.Option("--object", metavar="ID", help="Only what was done to the object with this id."),
    ] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Only what ended so.")] = None,
    search: Annotated[
        str | None, typer.Option("--search", "-q", metavar="TEXT", help="Only with it in account or action.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many, newest first.")] = 50,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show who did what, newest first, and what was refused."""
    from testum.cli.api import PAGE, Api

    asked = {"user": user, "action": action, "object_id": object_id, "outcome": outcome, "q": search}
    with Api(url) as api:
        found = list(islice(api.pages("/audit/", limit=min(limit, PAGE), **asked), limit))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            entry["timestamp"], entry["user"], entry["action"],
            entry["meta"].get("name") or entry["object_id"], entry["outcome"], entry["address"],
        )
        for entry in found
    ]  # fmt: skip
    print_table(("WHEN", "WHO", "WHAT", "OBJECT", "OUTCOME", "FROM"), rows)
