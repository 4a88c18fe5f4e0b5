"""Reading a table of hosts: CSV, as people and spreadsheets write it."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence

from testum.core.inventory import (
    CSV_COLUMNS,
    MAX_HOSTS,
    Draft,
    Inventory,
    Problem,
    TooMuch,
    lines_of,
    parse_port,
    too_many_hosts,
)

_MOST_OF_ROW = 500
"""Lines of a row: a private key has fewer than a hundred."""
_MOST_BAD = 500
_MOST_AGAIN = 1_000_000
"""Rows with a quote that is not closed, and characters of them: after each of them a part is read once more."""
_MOST_COLUMNS = 200


def parse_csv(text: str) -> Inventory:
    """A table whose first row names columns out of `CSV_COLUMNS`, in any order and by other usual names, too; only a name
    or a host must be there.

    Separated by commas, semicolons or tabs, or what Excel's `sep=` says. `tags` holds words separated by spaces, commas, `;`
    or `|`.
    """
    found = Inventory()
    lines = lines_of(text)
    header_line = next((line for line in lines if line.strip()), "")
    # Quoted, and with delimiters behind it, where a spreadsheet has taken the line for a row.
    said = re.fullmatch(r'(?i)("?)sep=([,;\t|])\1\2*\s*', header_line)
    if said:
        lines[lines.index(header_line)] = "\n"
    delimiter = said[2] if said else max(",;\t", key=header_line.count)
    header: list[str] = []
    for line, row in _csv_rows(lines, delimiter, found):
        if len(found.drafts) + len(found.problems) > MAX_HOSTS:
            found.problems.append(Problem(line, str(too_many_hosts())))
            return found
        # Spreadsheets leave delimiters behind, after columns that are empty.
        while len(row) > (len(header) or 1) and not row[-1].strip():
            row.pop()
        if not header:
            header = _columns(row)
            if "name" not in header:
                found.problems.append(
                    Problem(line, f"the first row must name the columns: {', '.join(CSV_COLUMNS)}")
                )
                return found
            if len(header) > _MOST_COLUMNS:
                found.problems.append(Problem(line, f"more than {_MOST_COLUMNS} columns"))
                return found
            for column in dict.fromkeys(header):
                if header.count(column) > 1:
                    found.notes.append(
                        Problem(line, f"several columns are {column}: the first that says something counts")
                    )
                if column not in CSV_COLUMNS:
                    found.notes.append(Problem(line, f"column {column!r} is not known and not used"))
        elif len(row) > len(header):
            found.problems.append(
                Problem(line, f"{len(row)} fields, but {len(header)} columns", row[0].strip())
            )
        else:
            values: dict[str, str] = {}
            for column, value in zip(header, row, strict=False):
                if not values.get(column, "").strip():
                    values[column] = value
            try:
                _csv_draft(line, values, found)
            except TooMuch as error:
                found.problems.append(Problem(line, str(error)))
                return found
    return found


_USUAL = {
    "ip": "host", "ip address": "host", "ip_address": "host", "address": "host", "user": "username", "login": "username",
    "user name": "username", "user_name": "username", "tag": "tags", "group": "tags", "groups": "tags",
}  # fmt: skip
"""Columns as other programs call them."""


def _columns(row: Sequence[str]) -> list[str]:
    """The names of the columns. A host's own name is its name here, where there is no other."""
    header = [_USUAL.get(column.strip().lower(), column.strip().lower()) for column in row]
    for plain in ("hostname", "host name", "host"):
        if "name" not in header and plain in header:
            header[header.index(plain)] = "name"
    return ["host" if column in ("hostname", "host name") else column for column in header]


_AS_IT_IS = frozenset({"private_key", "password", "passphrase"})
"""Columns in which space counts."""


def _csv_rows(lines: list[str], delimiter: str, found: Inventory) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with its first line's number.

    A quote left open swallows what follows; so after such a row, reading starts again on the next line.
    """
    start = bad = again = 0
    width = 0
    while start < len(lines):
        begun, used = start, 0
        rest = _Rest(lines, start)
        reader = csv.reader(rest, delimiter=delimiter, strict=True, skipinitialspace=True)
        try:
            for row in reader:
                begun, used = start + used, reader.line_num
                rest.row = start + used
                if width and len(row) > width and start + used - begun > 1:
                    raise csv.Error("a quote is not closed")
                if any(value.strip() for value in row):
                    width = width or len(row)
                    yield begun + 1, row
            return
        except csv.Error as error:
            if reader.line_num > used:
                begun = start + used
            found.problems.append(Problem(begun + 1, f"not readable as CSV: {error}"))
            again += sum(map(len, rest.taken_from(begun)))
            start, bad = begun + 1, bad + 1
            if bad >= _MOST_BAD or again > _MOST_AGAIN:
                found.problems.append(Problem(start, "and so on: nothing more is read"))
                return


class _Rest:
    """The lines from a place on, of which a row takes not too many. `row` is where the present one begins."""

    def __init__(self, lines: list[str], start: int) -> None:
        self._lines = lines
        self._place = self.row = start

    def taken_from(self, row: int) -> list[str]:
        """The lines that were read since this row began."""
        return self._lines[row : self._place]

    def __iter__(self) -> "_Rest":
        return self

    def __next__(self) -> str:
        if self._place >= len(self._lines):
            raise StopIteration
        if self._place - self.row >= _MOST_OF_ROW:
            raise csv.Error("a quote is not closed")
        self._place += 1
        return self._lines[self._place - 1]


def _csv_draft(line: int, row: Mapping[str, str], found: Inventory) -> None:
    row = {column: value if column in _AS_IT_IS else value.strip() for column, value in row.items()}
    name = row.get("name", "")
    host, behind = _host_and_port(row.get("host", "") or name)
    port, beside = parse_port(row.get("port", "") or behind), parse_port(behind)
    if port is None or beside is None:
        found.problems.append(Problem(line, "port: a number from 1 to 65535", name))
        return
    if behind and port != beside:
        found.problems.append(
            Problem(line, f"port: {port} in its column, but {beside} behind the address", name)
        )
        return
    key_file = row.get("key_file", "")
    found.add(
        Draft(
            name=name,
            host=host,
            line=line,
            port=port,
            username=row.get("username", ""),
            auth_method=row.get("auth_method", ""),
            password=row.get("password", ""),
            # A spreadsheet cell may hold the key with its line breaks written out.
            private_key=row.get("private_key", "").strip().replace("\\n", "\n"),
            passphrase=row.get("passphrase", ""),
            key_files=(key_file,) if key_file else (),
            tags=tuple(dict.fromkeys(re.split(r"[\s,;|]+", row.get("tags", "")))) if row.get("tags") else (),
            description=row.get("description", ""),
        )
    )


def _host_and_port(text: str) -> tuple[str, str]:
    """The host of `[host]` or `[host]:port`, and the port or nothing; any other text is the host."""
    found = re.fullmatch(r"\[([^\[\]]+)\](?::([0-9]+))?", text)
    return (found[1], found[2] or "") if found else (text, "")
