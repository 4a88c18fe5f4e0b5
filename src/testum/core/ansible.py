"""Reading an Ansible inventory into drafts of platforms: the INI form, and what all forms have in common. Pure, like
`core.inventory`."""

import ast
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from testum.core.ansible_hosts import hosts_of
from testum.core.hops import add_hops, hop_draft
from testum.core.inventory import (
    MAX_HOSTS,
    Draft,
    Inventory,
    Problem,
    TooMuch,
    lines_of,
    parse_port,
    too_many_hosts,
    too_much_is_a_problem,
)
from testum.core.shell_words import shell_words
from testum.core.ssh_lines import Unreadable
from testum.core.ssh_way import Arguments, arguments_of

MAX_GROUPS = 50
"""A platform has no more tags."""
_MOST_MENTIONS = 500_000
"""So many times hosts may be named, and so many groups may all hosts together be in. Ranges name many in a few bytes."""
_MOST_OF_ARGUMENTS = 1_000_000
"""Characters of different arguments for ssh."""
_MOST_OF_LITERAL = 200
_LONGEST_LINE = 100_000
_LONGEST_VALUE = 4_000
"""Characters of a variable that says how to log in: it may be said once for all hosts."""
_MOST_NESTED = 100_000
"""So often a group is said to stand in another: aliases of YAML say it many times with few characters."""
USED = frozenset(
    [
        *("ansible_connection", "ansible_host", "ansible_ssh_host", "ansible_port", "ansible_ssh_port"),
        *("ansible_user", "ansible_ssh_user", "ansible_password", "ansible_ssh_pass", "ansible_ssh_password"),
        *("ansible_ssh_private_key_file", "ansible_private_key_file", "ansible_group_priority"),
        *("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"),
    ]
)
"""Variables that say how to log in; the others are not looked at."""
ENCRYPTED = "$ANSIBLE_VAULT"
"""So begins a value that Ansible Vault has encrypted."""


_SECTION = re.compile(r"\[([^:\]\s]+)(?::(vars|children|hosts))?\]\s*(?:#.*)?$")
_LIKE_A_SECTION = re.compile(r"\[[^\]]*\]\s*;")


def parse_ansible(text: str) -> Inventory:
    """An Ansible INI inventory: groups become tags, and `ansible_*` variables say how to log in."""
    found = Inventory()
    listed = Listed()
    with too_much_is_a_problem(found):
        _read_ini(text, listed, found)
        listed.draft(found)
    return found


def _read_ini(text: str, listed: "Listed", found: Inventory) -> None:
    """Raises TooMuch."""
    group, kind = "ungrouped", "hosts"
    for line, written in enumerate(lines_of(text), 1):
        content = written.strip()
        if not content or content[0] in "#;":
            continue
        section = _SECTION.match(content) if content[0] == "[" else None
        try:
            if len(content) > _LONGEST_LINE:
                raise ValueError(f"a line has at most {_LONGEST_LINE} characters")
            if section:
                group, kind = section[1], section[2] or "hosts"
                listed.begin(group, line, only_variables=kind == "vars")
            elif content[0] == "[" and (content[-1] == "]" or _LIKE_A_SECTION.match(content)):
                # What follows is not for the section before.
                kind = ""
                raise ValueError(f"{content[:100]}: not a section; what follows it is not read")
            elif not kind:
                continue
            elif kind == "vars":
                key, equals, value = content.partition("=")
                if not equals:
                    raise ValueError("a variable is written as name=value")
                if (name := key.strip()) in USED:
                    check_value(name, value)
                    listed.say(group, name, _value(value.strip()))
            elif kind == "children":
                listed.put(content.split("#")[0].strip(), group, line)
            else:
                pattern, *words = shell_words(content)
                listed.add(hosts_of(pattern), group, _own(words) if words else {}, line)
        except ValueError as error:
            found.refuse(Problem(line, str(error)))


def _own(words: Sequence[str]) -> dict[str, str]:
    """The variables behind a host's name. Raises ValueError."""
    if lonely := [word for word in words if "=" not in word]:
        raise ValueError(f"a variable is written as name=value, without spaces: {lonely[0][:100]}")
    said = {name: text for name, _, text in (word.partition("=") for word in words) if name in USED}
    for name, text in said.items():
        check_value(name, text)
    return {name: _value(text) for name, text in said.items()}


def _named_too_often() -> TooMuch:
    return TooMuch("hosts are named too often: split the list")


class Listed:
    """What an inventory says, in whatever form it is written: its hosts, groups and variables.

    Variables win as in Ansible: the host's own, then those of its groups, nearest first, then `all`.
    """

    def __init__(self) -> None:
        self._groups = _Groups()
        self._begun = {"all", "ungrouped"}
        """Groups that have a section."""
        self._missing: dict[str, int] = {}
        """Groups that are named and have none, each with its line."""
        self._hosts: dict[str, dict[str, str]] = {}
        self._mentions = 0
        self._lines: dict[str, int] = {}
        self._members: dict[str, set[str]] = {}
        self._group_vars: dict[str, dict[str, str]] = {}

    def add(self, names: Iterable[tuple[str, str]], group: str, own: Mapping[str, str], line: int) -> None:
        """Put hosts, each with its port, into a group, and say their own variables. Raises TooMuch."""
        for name, port in names:
            self._mentions += 1
            if self._mentions > _MOST_MENTIONS:
                raise _named_too_often()
            its = self._hosts.get(name)
            if its is None:
                # A port behind the name counts where the host is named first.
                its = self._hosts[name] = {"ansible_port": port} if port else {}
                self._lines[name], self._members[name] = line, {group}
                if len(self._hosts) > MAX_HOSTS:
                    raise too_many_hosts()
            else:
                self._members[name].add(group)
            if own:
                # Where a group has the same name, Ansible gives the variables to that.
                (self._group_vars.setdefault(name, {}) if name in self._begun else its).update(own)

    def begin(self, group: str, line: int, *, only_variables: bool = False) -> None:
        """Say that a group's section begins. One that has `only_variables` has to begin elsewhere, too."""
        if not only_variables:
            self._missing.pop(group, None)
        elif group not in self._begun:
            self._missing.setdefault(group, line)
        self._begun.add(group)

    def put(self, child: str, group: str, line: int) -> None:
        """Say that a group stands in another. Raises ValueError and TooMuch."""
        if child not in self._begun:
            self._missing.setdefault(child, line)
        self._groups.put(child, group, line)

    def say(self, group: str, name: str, value: str) -> None:
        """Say a group's variable. Raises ValueError."""
        if name == "ansible_group_priority":
            self._groups.priorities[group] = _priority(value)
        self._group_vars.setdefault(group, {})[name] = value

    def draft(self, found: Inventory) -> None:
        """Make drafts of the hosts; what is wrong with them is told in `found`, too. Raises TooMuch."""
        for name, line in self._missing.items():
            found.refuse(Problem(line, f"there is no group {name}"))
        for problem in self._groups.untie():
            found.refuse(problem)
        mentions = 0
        ways = _Ways()
        for name, own in self._hosts.items():
            values = dict(self._group_vars.get("all", {}))
            try:
                # In it are those that are in no other group, wherever they stand.
                above = self._groups.above(self._members[name] - {"all", "ungrouped"} or {"ungrouped"})
            except ValueError as error:
                found.problems.append(Problem(self._lines[name], str(error), name))
                continue
            mentions += len(above)
            if mentions > _MOST_MENTIONS:
                raise _named_too_often()
            for group in above:
                values.update(self._group_vars.get(group, {}))
            tags = sorted({*above} - {"ungrouped"})
            _ansible_draft(name, self._lines[name], values | own, tags, ways, found)
        add_hops(found, hop_draft)


class _Groups:
    """Which groups stand in which. A list may nest them as deep and as often as it has lines: each is looked at once."""

    def __init__(self) -> None:
        self._parents: dict[str, dict[str, int]] = {}
        self.priorities: dict[str, int] = {}
        """Of those whose variables say one; the others have 1."""
        self._known: dict[frozenset[str], list[str]] = {}
        self._depths: dict[str, int] = {}
        self._nested = 0

    def put(self, child: str, group: str, line: int) -> None:
        """Say that a group stands in another. Raises ValueError for one in itself, and TooMuch."""
        if child == group:
            raise ValueError(f"{group} contains itself")
        if child == "all":
            raise ValueError(f"{group} and all contain each other")
        self._nested += 1
        if self._nested > _MOST_NESTED:
            raise TooMuch("groups stand in each other too often: split the list")
        self._parents.setdefault(child, {}).setdefault(group, line)

    def untie(self) -> list[Problem]:
        """Take away what makes groups contain each other; that is returned."""
        found = []
        seen: set[str] = set()
        under_way: set[str] = set()
        for start in self._parents:
            way = [] if start in seen else [start]
            left = [deque(self._parents[start].items())]
            seen.update(way)
            under_way.update(way)
            while way:
                if not left[-1]:
                    left.pop()
                    under_way.discard(way.pop())
                    continue
                group, line = left[-1].popleft()
                if group in under_way:
                    del self._parents[way[-1]][group]
                    found.append(Problem(line, f"{group} and {way[-1]} contain each other"))
                elif group in self._parents and group not in seen:
                    seen.add(group)
                    under_way.add(group)
                    way.append(group)
                    left.append(deque(self._parents[group].items()))
        return found

    def above(self, groups: Iterable[str]) -> list[str]:
        """These groups and all that they stand in, `all` apart: the farther ones first, so that nearer ones overwrite what
        they say, and equals by their priority and the alphabet. Raises ValueError where they are too many."""
        # Many hosts stand in the same ones.
        key = frozenset(groups)
        if key not in self._known:
            self._known[key] = self._look(key)
        return self._known[key]

    def _look(self, groups: Iterable[str]) -> list[str]:
        found: dict[str, None] = dict.fromkeys(groups)
        waiting = list(found)
        while waiting:
            for group in self._parents.get(waiting.pop(), {}):
                if group not in found:
                    if len(found) >= MAX_GROUPS:
                        raise ValueError(f"it is in more than {MAX_GROUPS} groups")
                    found[group] = None
                    waiting.append(group)
        # What a group stands in is among these, so that each round settles one at least. Depths are the same for each host.
        while unknown := [group for group in found if group not in self._depths]:
            for group in unknown:
                above = self._parents.get(group, {})
                if above.keys() <= self._depths.keys():
                    self._depths[group] = 1 + max((self._depths[each] for each in above), default=0)
        return sorted(
            found.keys() - {"all"},
            key=lambda group: (self._depths[group], self.priorities.get(group, 1), group),
        )


class _Ways:
    """What hosts' arguments for ssh say. Many hosts have the same ones; what is read of others is counted."""

    def __init__(self) -> None:
        self._known: dict[str, Arguments | str] = {}
        """What each text says, or why it cannot be read."""
        self._read = 0

    def of(self, *texts: str) -> Arguments:
        """What these arguments say (ssh_way.arguments_of). Raises Unreadable, and TooMuch."""
        arguments = " ".join(filter(None, texts))
        if arguments not in self._known:
            self._read += len(arguments)
            if self._read > _MOST_OF_ARGUMENTS:
                raise TooMuch("what is said for all hosts is too long for so many: split the list")
            try:
                self._known[arguments] = arguments_of(arguments)
            except Unreadable as error:
                self._known[arguments] = str(error)
        way = self._known[arguments]
        if isinstance(way, str):
            raise Unreadable(way)
        return way


def _ansible_draft(
    name: str, line: int, values: Mapping[str, str], tags: Sequence[str], ways: _Ways, found: Inventory
) -> None:
    def value(*keys: str) -> str:
        return next((values[key] for key in keys if values.get(key)), "")

    connection = value("ansible_connection")
    # With the collection's name or without.
    if connection and connection.rpartition(".")[2] not in ("ssh", "smart", "paramiko", "paramiko_ssh"):
        found.note(Problem(line, f"{name}: its connection is {connection}, not SSH; left out", name))
        return
    # Of two names of one variable the older one wins, whoever says it.
    port = value("ansible_ssh_port", "ansible_port")
    username = value("ansible_ssh_user", "ansible_user")
    key_file = value("ansible_ssh_private_key_file", "ansible_private_key_file")
    # In this order ssh gets them; the port and user of the variables come behind the first.
    first = value("ansible_ssh_args")
    others = value("ansible_ssh_common_args"), value("ansible_ssh_extra_args")
    draft = Draft(
        name=name,
        host=value("ansible_ssh_host", "ansible_host") or name,
        line=line,
        port=parse_port(port) or 0,
        username=username,
        password=value("ansible_ssh_password", "ansible_ssh_pass", "ansible_password"),
        key_files=(key_file,) if key_file else (),
        tags=tuple(tags),
    )
    texts = (draft.host, port, draft.username, draft.password, key_file, first, *others)
    if any("{{" in text for text in texts):
        found.problems.append(Problem(line, "a {{ template }} cannot be filled in here", name))
        return
    if any(text.startswith(ENCRYPTED) for text in texts):
        found.problems.append(
            Problem(line, "a value that Ansible Vault has encrypted cannot be read here", name)
        )
        return
    try:
        draft = replace(draft, jumps=ways.of(first, *others).hops)
        theirs = {"port": str(draft.port), "user": draft.username, "hostname": draft.host}
        for arguments, before in (
            (ways.of(first), ()),
            (ways.of(*others), (port and "port", username and "user")),
        ):
            for option, text in arguments.named.items():
                if option not in before and text != theirs[option]:
                    raise Unreadable(
                        f"its arguments for ssh say {option} {text[:100]}: write ansible_port, ansible_user or ansible_host"
                    )
    except Unreadable as error:
        found.problems.append(Problem(line, str(error), name))
        return
    if draft.password and draft.key_files:
        # Ansible would try the key first; so does the platform.
        draft = replace(draft, password="")
    found.add(draft)


def check_value(name: str, text: str) -> None:
    """Raises ValueError for one that is too long."""
    if len(text) > _LONGEST_VALUE:
        raise ValueError(f"{name}: a value has at most {_LONGEST_VALUE} characters")


_SELF = re.compile(r"(?!(True|False|None)$)[A-Za-z_][\w.@/-]*|0|[1-9][0-9]{0,17}", re.ASCII)
"""Names and numbers are what they are, as most values; Python's parser would take many times as long."""
_QUOTED = re.compile(r"'([^'\\]*)'|\"([^\"\\]*)\"")
_SIGNS = re.compile(r"[(\[{~+,-]")
_MOST_SIGNS = 10
"""Signs of a literal that is evaluated. Nested, each takes Python's parser long; a value for a login has few."""


def _priority(text: str) -> int:
    """Raises ValueError."""
    if not re.fullmatch("-?[0-9]{1,9}", text):
        raise ValueError(f"ansible_group_priority: {text[:100]} is not a number")
    return int(text)


def _value(text: str) -> str:
    """What stands behind a variable's equals sign: a literal of Python where it is one, and a comment behind that is none of
    it; else the text (Ansible, the ini inventory plugin)."""
    if _SELF.fullmatch(text):
        return text
    if quoted := _QUOTED.fullmatch(text):
        return quoted[1] or quoted[2] or ""
    if len(text) <= _MOST_OF_LITERAL and len(_SIGNS.findall(text)) <= _MOST_SIGNS:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return text
        # None is a variable that is not set.
        if value is None:
            return ""
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return text if value is ... else str(value)
    return text
