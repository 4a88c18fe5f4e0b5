"""Reading lists of hosts that people already have: CSV and OpenSSH client configuration.

Text in, drafts of platforms and problems with line numbers out; nothing is opened here. A line that
cannot be used costs only itself.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

CSV_COLUMNS = (
    "name", "host", "port", "username", "auth_method", "password",
    "private_key", "passphrase", "key_file", "tags", "description",
)  # fmt: skip
_MOST_OF_ROW = 500
"""Lines of a row: a private key has fewer than a hundred."""
_MOST_BAD = 500
_MOST_AGAIN = 1_000_000
"""Rows with a quote that is not closed, and characters of them: after each of them a part is read once more."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A platform as the file describes it. Empty means that the file does not say.

    `key_files` are paths as written, first choice first; `jumps` are the hops on the way to the host,
    nearest to the client first, each `name` or `user@host:port`.
    """

    name: str
    host: str
    line: int
    port: int = 22
    username: str = ""
    auth_method: str = ""
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    passphrase: str = field(default="", repr=False)
    key_files: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str = ""
    jumps: tuple[str, ...] = ()
    hop: str = ""
    """Of a jump host that the list names on a way and nowhere else: how it is written there."""
    problem: str = ""
    """Why it cannot be added, where whoever has read the list knows that."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a line was not used, in whole (`name` says which platform is missing) or in part (a note)."""

    line: int
    message: str
    name: str = ""
    file: str = ""


MAX_HOSTS = 20_000
"""In a list, its hops with them: no more are read than are of use."""
_MOST_HOPS = 100_000
"""On the ways to all hosts together."""
_MOST_OF_DRAFTS = 16_000_000
"""Characters: what is said once for all hosts is in each draft."""


class TooMuch(Exception):
    """The text asks for more work than any real list."""


def too_many_hosts() -> TooMuch:
    """The list has more hosts than are read."""
    return TooMuch(f"more than {MAX_HOSTS} hosts: split the list")


@dataclass(slots=True)
class Inventory:
    """What was read: platforms to add, lines that could not be used, and things left out on purpose."""

    drafts: list[Draft] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    _lines: dict[str, int] = field(default_factory=dict, repr=False)
    _size: int = 0

    def refuse(self, problem: Problem) -> None:
        """Take a line that cannot be used. Raises TooMuch where there are too many of them to be told."""
        self.problems.append(problem)
        if len(self.problems) > MAX_HOSTS:
            raise TooMuch("and so on: nothing more is read")

    def note(self, note: Problem) -> None:
        """Take what is told beside. Raises TooMuch as refuse() does."""
        self.notes.append(note)
        if len(self.notes) > MAX_HOSTS:
            raise TooMuch("and so on: nothing more is read")

    def add(self, draft: Draft) -> None:
        """Take the draft, unless its name was there before (the first one counts) or it says nonsense. Raises TooMuch."""
        # A private key stands in a table only, each time as a whole.
        self._size += sum(map(len, (draft.host, draft.username, draft.password)))
        self._size += sum(map(len, (*draft.key_files, *draft.tags, *draft.jumps)))
        if self._size > _MOST_OF_DRAFTS:
            raise TooMuch("what is said for all hosts is too long for so many: split the list")
        problem = _nonsense(draft)
        if draft.name in self._lines:
            problem = f"{draft.name} is already on line {self._lines[draft.name]}"
        if problem:
            self.refuse(Problem(draft.line, problem, draft.name))
            return
        self._lines[draft.name] = draft.line
        self.drafts.append(draft)


@contextmanager
def too_much_is_a_problem(found: Inventory) -> Iterator[None]:
    """Where TooMuch is raised, what was read before that stays, and the reason is a problem of the list."""
    try:
        yield
    except TooMuch as error:
        found.problems.append(Problem(1, str(error)))


def split_hop(hop: str) -> tuple[str, str, int | None]:
    """User (or empty), host and port (or None) of `user@host:port`."""
    user, _, rest = hop.rpartition("@")
    host, colon, port = rest.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or (":" in host and not host.startswith("[")):
        return user, rest.strip("[]"), None
    return user, host.strip("[]"), int(port)


def hop_draft(user: str, host: str, port: int | None, line: int) -> Draft:
    """A hop of which nothing is known but how it is written."""
    return Draft(host, host, line, port=port or 22, username=user)


class Places:
    """Who is where: found by user, host and port in the same time however many there are."""

    def __init__(self) -> None:
        self._by_login: dict[tuple[str, int, str], str] = {}
        self._by_port: dict[tuple[str, int], str] = {}

    def add(self, name: str, host: str, port: int, user: str) -> None:
        """Note where something of this name is; the first one at a place counts."""
        self._by_login.setdefault((host.lower(), port, user), name)
        self._by_port.setdefault((host.lower(), port), name)

    def find(self, host: str, port: int, user: str, *, exactly: bool = False) -> str | None:
        """The name of what is there; with no user, whatever its user, or `exactly` one without."""
        if not user and not exactly:
            return self._by_port.get((host.lower(), port))
        return self._by_login.get((host.lower(), port, user))


def add_hops(
    found: Inventory, make: Callable[[str, str, int | None, int], Draft], *, knows_user: bool = False
) -> None:
    """Make each hop on the ways of the drafts a draft of its own, unless one of them is it, and let the ways name drafts.

    `make` gives the draft of a hop whose name the list does not have, from its user (or empty), host and port (or None), and
    the line that names it; `knows_user`: one without a user is none of another's. Raises TooMuch.
    """
    by_name = {draft.name: draft for draft in found.drafts}
    places = Places()
    for draft in found.drafts:
        places.add(draft.name, draft.host, draft.port, draft.username)

    settled: dict[str, str] = {}

    def settle(hop: str, before: tuple[str, ...], line: int) -> str:
        if hop not in settled:
            settled[hop] = look(hop, before, line)
        return settled[hop]

    def look(hop: str, before: tuple[str, ...], line: int) -> str:
        user, host, port = split_hop(hop)
        named = by_name.get(host)
        if named is not None and user in ("", named.username) and port in (None, named.port):
            return named.name
        if len(by_name) >= MAX_HOSTS:
            return hop
        made = make(user, host, port, line)
        if (there := places.find(made.host, made.port, made.username, exactly=knows_user)) is not None:
            return there
        name = host if host not in by_name else hop
        new = replace(made, name=name, hop=hop, line=line, jumps=before or made.jumps)
        by_name[name] = new
        places.add(name, new.host, new.port, new.username)
        found.add(new)
        found.note(Problem(line, f"{hop} is a jump host: it becomes a platform", name))
        return name

    number = hops = 0
    # Those that are made have ways, too.
    while number < len(found.drafts):
        draft = found.drafts[number]
        hops += len(draft.jumps)
        if hops > _MOST_HOPS:
            raise TooMuch("too many hosts on the ways: split the list")
        way: tuple[str, ...] = ()
        for hop in draft.jumps:
            way = (*way, hop if hop in by_name and not way else settle(hop, way, draft.line))
        if way != draft.jumps:
            found.drafts[number] = replace(draft, jumps=way)
        number += 1
    if len(by_name) >= MAX_HOSTS:
        found.problems.append(Problem(1, "too many hosts on the ways: split the list"))


def lines_of(text: str) -> list[str]:
    """A text's lines with their ends, which are LF, CR LF or CR: other signs that Unicode ends lines with may stand in a
    value (RFC 4180)."""
    return list(io.StringIO(text.removeprefix("\ufeff"), newline=""))


_LONGEST_HEADER = 10_000
_MOST_COLUMNS = 200
_NAMES_OF_HOSTS = frozenset({"name", "host", "hostname", "host name", "ip", "address", "ip address"})
"""Columns of which a table of hosts has one at least."""


def sniff(text: str, filename: str = "") -> str:
    """Which format a file is in: `csv`, `ssh-config` or `ansible`, judged by its name and first lines."""
    if filename.lower().endswith((".csv", ".tsv")):
        return "csv"
    lines = [line.strip() for line in lines_of(text) if line.strip() and line.strip()[0] not in "#;"]
    first = lines[0][:_LONGEST_HEADER].lower() if lines else ""
    cells = {cell.strip(" \"'\ufeff") for cell in re.split(r"[,;\t|]", first)}
    named = not cells.isdisjoint(_NAMES_OF_HOSTS)
    if first.lstrip('"').startswith("sep=") or (named and len(cells) > 1):
        return "csv"
    if lines and re.match(r"\[[^\]]+\]\s*(#.*)?$", lines[0]):
        # A variable of an inventory may be called host.
        return "ansible"
    if any(re.match(r"(?i)(host|match|include)[ \t=]+\S", line) for line in lines):
        return "ssh-config"
    return "csv" if named else "ansible"


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


def parse_port(text: str) -> int | None:
    """The port that `text` says, 22 if it says nothing, None if it is not one. Spreadsheets write `2222.0`."""
    if not text:
        return 22
    found = re.fullmatch(r"([0-9]{1,5})(?:\.0+)?", text)
    return int(found[1]) if found and 0 < int(found[1]) < 65536 else None


def _nonsense(draft: Draft) -> str:
    """What is wrong with a draft in itself, or nothing."""
    if not draft.name:
        return "a name is missing"
    if not 0 < draft.port < 65536:
        return "port: a number from 1 to 65535"
    if draft.auth_method not in ("", "password", "private_key", "key_and_password"):
        return "auth_method: password, private_key or key_and_password"
    if not draft.auth_method and draft.password and (draft.private_key or draft.key_files):
        return "a password and a key are given: say which counts in auth_method"
    return ""
