"""Groups of Ansible inventories: which stand in which, and whose variables win."""

from collections import deque
from collections.abc import Iterable

from testum.core.inventory import Problem, TooMuch

MAX_GROUPS = 50
"""A platform has no more tags."""
_MOST_NESTED = 100_000
"""So often a group is said to stand in another: aliases of YAML say it many times with few characters."""


class Groups:
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
