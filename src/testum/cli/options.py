"""Options that several commands share, and the printing of answers."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from testum.cli.lines import harmless_name

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="TESTUM_URL", show_envvar=True, metavar="URL", help="The server's address."),
]
Json = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]


def print_json(answer: Any) -> None:
    """An answer of the API, indented; non-ASCII characters as escapes, so that no terminal obeys them."""
    print(json.dumps(answer, indent=2))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under their headings. Columns are cut to the terminal's width, and never where a program reads."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 10_000)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(cell_text(value)) for value in row))
    if sys.stdout.isatty():
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def print_fields(item: dict[str, Any], names: Sequence[str]) -> None:
    """Some of an object's fields, one on a line; those without a value are left out."""
    width = max(map(len, names)) + 2
    for name in names:
        if item.get(name) not in (None, "", []):
            print(f"{name + ':':<{width}}{cell_text(item[name])}")


def cell_text(value: object) -> str:
    """A value in one line, harmless on a terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return harmless_name(" ".join(map(str, value)))
    return harmless_name(str(value))
