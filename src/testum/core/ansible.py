"""What an Ansible inventory says, in whatever form it is written: its hosts, groups and variables."""

import re
from collections.abc import Iterable, Mapping

from testum.core.ansible_groups import Groups
from testum.core.ansible_variables import Ways, add_draft
from testum.core.hops import add_hops, hop_draft
from testum.core.inventory import MAX_HOSTS, Inventory, Problem, TooMuch, too_many_hosts

_MOST_MENTIONS = 500_000
"""So many times hosts may be named, and so many groups may all hosts together be in. Ranges name many in a few bytes."""


def _named_too_often() -> TooMuch:
    return TooMuch("hosts are named too often: split the list")


class Listed:
    """What an inventory says, in whatever form it is written: its hosts, groups and variables.

    Variables win as in Ansible: the host's own, then those of its groups, nearest first, then `all`.
    """

    def __init__(self) -> None:
        self._groups = Groups()
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
        ways = Ways()
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
            add_draft(name, self._lines[name], values | own, tags, ways, found)
        add_hops(found, hop_draft)


def _priority(text: str) -> int:
    """Raises ValueError."""
    if not re.fullmatch("-?[0-9]{1,9}", text):
        raise ValueError(f"ansible_group_priority: {text[:100]} is not a number")
    return int(text)
