"""Reading OpenSSH's client configuration (ssh_config(5)) as `ssh` itself does: which values a host name gets.

Blocks count in the order in which they stand, and the first value of a keyword wins. tests/core/test_ssh_config.py holds it against `ssh -G`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from testum.core import ngrams
from testum.core.inventory import MAX_HOSTS, Inventory, Problem, TooMuch, too_many_hosts
from testum.core.shell_words import is_plain
from testum.core.ssh_conditions import NEVER, Asked, Condition, HostLine, is_address, match_line
from testum.core.ssh_lines import SPACE, Unreadable, directive, words

Include = Callable[[str], Sequence[tuple[str, str]]]
"""Given an Include directive's argument, the files it names, each with its text."""

_DEEPEST = 16
_MOST_LINES = 200_000
"""Files may be included again and again: so many lines are read in all."""
_MOST_PATTERNS = 4_000
_MOST_LOOKS = 250_000
_LOOKS_OF_A_HOST = 100
"""So many blocks, patterns and the like are looked at in all, and more for each host; a block takes three or four. 3,000
hosts may each be held against 45 blocks. Blocks whose patterns cannot fit the name (ngrams.py) do not count. Where each block
may be for each host, twice the list is four times the work; this much of it takes less time than reading the rest."""
_CRITERION = 3
"""So many blocks are looked at while a condition of Match is read."""
_QUOTED = 4
"""Characters of a line with quotes that are read while one block is looked at."""
_MOST_CHARACTERS = 1_500_000
"""Of all names, those to which HostName leads with them."""
_MOST_KEY_FILES = 20
_LONGEST = 1_000
"""Characters of a value."""
_MOST_TOKENS = 20
_ONE = frozenset({"hostname", "port", "user"})
"""Keywords of one argument; of the others that are read, `identityfile` adds up, and the proxies take the whole line."""
_PROXIES = frozenset({"proxyjump", "proxycommand"})
_CANONICAL = frozenset({"canonicalizehostname", "canonicalizemaxdots", "canonicaldomains"})
"""Of these the first word is enough: it says whether there are any."""
_USED = _ONE | _PROXIES | _CANONICAL | {"identityfile"}


@dataclass(slots=True)
class Block:
    """What stands under the same conditions: the first value of each keyword."""

    conditions: tuple[Condition, ...]
    line: int
    file: str
    values: dict[str, str] = field(default_factory=dict)
    key_files: list[str] = field(default_factory=list)


def _set(values: dict[str, str], keyword: str, value: str) -> None:
    """The first one counts. The two proxies exclude each other, but for `ProxyJump none`, after which a ProxyCommand
    counts."""
    jump = values.get("proxyjump", "none").lower() != "none"
    taken = {"proxyjump": "proxycommand" in values, "proxycommand": jump}
    if not taken.get(keyword):
        values.setdefault(keyword, value)


def _add_key_files(files: list[str], more: Sequence[str]) -> None:
    if more:
        files[:] = [*dict.fromkeys([*files, *more])][:_MOST_KEY_FILES]


class SshConfig:
    """A client configuration: the blocks in the order in which ssh looks at them."""

    def __init__(self, include: Include | None, found: Inventory) -> None:
        """`found` takes the lines that could not be used, and notes."""
        self.aliases: dict[str, tuple[int, str]] = {}
        """The names that Host lines give without wildcards, each with where."""
        self.domains_at: tuple[int, str] | None = None
        """Where CanonicalDomains stands first."""
        self._include = include
        self._found = found
        self._blocks: list[Block] = []
        # Which blocks may be for a name, and which for any: thousands of hosts are not each held against all.
        self._of_name: dict[str, list[int]] = {}
        self._of_ngram: dict[str, list[int]] = {}
        self._of_any: list[int] = []
        self._asks_final = False
        self._depth = 0
        self._lines = 0
        self._patterns = 0
        self._looks_left = _MOST_LOOKS
        self._characters = 0

    def read(self, text: str, file: str = "", outer: tuple[Condition, ...] = ()) -> None:
        """Take one file's lines; `outer` are the conditions under which it was included."""
        block = self._begin(outer, 0, file)
        for line, written in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            self._lines += 1
            if self._lines > _MOST_LINES:
                raise TooMuch(f"more than {_MOST_LINES} lines, with what is included")
            keyword = ""
            try:
                said = directive(written)
                if said is None:
                    continue
                keyword, rest = said
                if not is_plain(rest):
                    self._look(len(rest) // _QUOTED)
                if keyword == "match":
                    match = match_line(rest)
                    self._look(_CRITERION * len(match.criteria))
                    # Wherever it stands, ssh goes over all of it once more.
                    self._asks_final |= any(name == "final" for name, _, _ in match.criteria)
                    block = self._begin((*outer, match), line, file)
                elif keyword == "host":
                    names = words(rest)
                    self._look(1 + len(names))
                    block = self._begin((*outer, HostLine(tuple(names))), line, file)
                    self._name(block)
                elif keyword == "include":
                    self._read_included(words(rest), block, line, file)
                    block = self._begin(block.conditions, line, file)
                else:
                    self._take(block, keyword, rest)
                    if keyword == "canonicaldomains" and self.domains_at is None:
                        self.domains_at = line, file
            except Unreadable as error:
                self._found.refuse(Problem(line, str(error), file=file))
                if keyword in ("host", "match"):
                    # What follows is not the block's before.
                    block = self._begin((*outer, NEVER), line, file)

    def _begin(self, conditions: tuple[Condition, ...], line: int, file: str) -> Block:
        block = Block(conditions, line, file)
        if conditions:
            self._patterns += conditions[-1].weight
            if self._patterns > _MOST_PATTERNS:
                raise TooMuch(f"more than {_MOST_PATTERNS} patterns: split the list")
        place = len(self._blocks)
        wanted = next(
            (it.wanted for it in reversed(conditions) if it.wanted and it.wanted.runs is not None), None
        )
        if wanted is None:
            self._of_any.append(place)
        else:
            for name in wanted.names:
                self._of_name.setdefault(name, []).append(place)
            for runs in wanted.runs or ():
                self._of_ngram.setdefault(ngrams.wanted_by(runs, self._of_ngram), []).append(place)
        self._blocks.append(block)
        return block

    def _name(self, block: Block) -> None:
        *outer, last = block.conditions
        assert isinstance(last, HostLine)
        around = [it.patterns for it in outer if isinstance(it, HostLine)]
        for name in last.written:
            self._look(len(around))
            if not re.search(r"[*?!]", name) and all(it.fit(name, self._look) for it in around):
                self.aliases.setdefault(name, (block.line, block.file))
                if len(self.aliases) > MAX_HOSTS:
                    raise too_many_hosts()

    def _take(self, block: Block, keyword: str, rest: str) -> None:
        too_long = len(rest) > _LONGEST or rest.count("%") > _MOST_TOKENS
        if keyword in _PROXIES and too_long:
            # Left out, its hosts would be reached directly: an open quote and a space are a problem of each of them.
            rest = "' (too long)"
        elif keyword in _USED and too_long:
            raise Unreadable(f"{keyword}: more than {_LONGEST} characters or {_MOST_TOKENS} tokens")
        if keyword in _PROXIES:
            value = rest.lstrip(SPACE + "=")
            # Of a command `#` is a part.
            if keyword == "proxyjump":
                value = value.partition("#")[0].strip()
            block.values.setdefault(keyword, value)
        elif keyword in _USED:
            value, *more = words(rest) or [""]
            if not value or (more and keyword not in _CANONICAL):
                raise Unreadable(f"{keyword}: one value is wanted")
            if keyword == "identityfile":
                _add_key_files(block.key_files, [value])
            else:
                block.values.setdefault(keyword, value)

    def _read_included(self, paths: Sequence[str], block: Block, line: int, file: str) -> None:
        if not all(paths):
            raise Unreadable("Include: a path is missing")
        if self._include is None:
            for path in paths:
                message = f"Include {path} is not read here: add what is in those files"
                self._found.note(Problem(line, message, file=file))
            return
        if self._depth >= _DEEPEST:
            raise Unreadable("Include: nested too deeply")
        self._depth += 1
        for path in paths:
            for name, text in self._include(path):
                self.read(text, name, block.conditions)
        self._depth -= 1

    def ask(self, asked: Asked) -> list[Block]:
        """Fill in what ssh would use. The blocks of which nobody here can know whether they count are returned."""
        asked.look = self._look
        undecided = self._pass(asked)
        # With CanonicalizeHostname ssh goes over all of it once more, too.
        if self._asks_final or asked.canonicalizes:
            host = asked.hostname()
            asked.host = host if is_address(host) else host.lower()
            asked.final = True
            known = set(map(id, undecided))
            undecided += [block for block in self._pass(asked) if id(block) not in known]
        return undecided

    def _look(self, cost: int) -> None:
        self._looks_left -= cost
        if self._looks_left < 0:
            raise TooMuch("too many blocks for too many hosts: split the list")

    def _that_may_hold(self, names: set[str]) -> list[int]:
        """The places of the blocks that may be for one of the names, in order."""
        places = set(self._of_any)
        for name in names:
            places.update(self._of_name.get(name, ()))
        for ngram in set().union(*map(ngrams.had_by, names)) if self._of_ngram else ():
            places.update(self._of_ngram.get(ngram, ()))
        return sorted(places)

    def _pass(self, asked: Asked) -> list[Block]:
        self._looks_left += _LOOKS_OF_A_HOST
        undecided: list[Block] = []
        known: dict[int, bool | None] = {}
        names = {asked.host, asked.original, asked.original.lower()}
        self._characters += sum(map(len, names))
        if self._characters > _MOST_CHARACTERS:
            raise TooMuch("what is said for all hosts is too long for so many: split the list")
        places = self._that_may_hold(names)
        self._look(len(places))
        for block in map(self._blocks.__getitem__, places):
            adds = block.key_files and len(asked.key_files) < _MOST_KEY_FILES
            if not adds and block.values.keys() <= asked.values.keys():
                # Whether it counts makes no difference.
                continue
            self._look(len(block.conditions) + len(asked.key_files) // 4)
            counts: bool | None = True
            for condition in block.conditions:
                # Each is looked at where it stands: what follows may set what it asks for.
                if id(condition) not in known:
                    known[id(condition)] = condition.holds(asked)
                holds = known[id(condition)]
                if holds is False:
                    counts = False
                elif holds is None and counts:
                    counts = None
            if counts is None:
                undecided.append(block)
            elif counts:
                for keyword, value in block.values.items():
                    _set(asked.values, keyword, value)
                _add_key_files(asked.key_files, block.key_files)
        return undecided
