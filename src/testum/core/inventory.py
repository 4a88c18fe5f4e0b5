"""What is read of a list of hosts, of whatever kind: drafts of platforms, and problems with line numbers.

Text in, these out; nothing is opened here. A line that cannot be used costs only itself.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

CSV_COLUMNS = (
    "name", "host", "port", "username", "auth_method", "password",
    "private_key", "passphrase", "key_file", "tags", "description",
)  # fmt: skip
"""Columns of a table of hosts."""


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


def lines_of(text: str) -> list[str]:
    """A text's lines with their ends, which are LF, CR LF or CR: other signs that Unicode ends lines with may stand in a
    value (RFC 4180)."""
    return list(io.StringIO(text.removeprefix("\ufeff"), newline=""))


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
