"""Jump hosts of an import: which platform each hop means, and in which order they are added."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from testum.core.hops import Places, split_hop
from testum.core.inventory import Draft, Inventory
from testum.db.platforms import Platform
from testum.errors import InvalidInput
from testum.services.import_plans import Step


class Names:
    """Who is reached through whom, by name."""

    def __init__(self, drafts: Sequence[Draft], known: Mapping[str, Platform]) -> None:
        self._drafts = {draft.name: draft for draft in drafts}
        self._known = known
        self._by_id = {platform.id: platform.name for platform in known.values()}

    def of_hop(self, hop: str) -> str | None:
        """The name of the platform that a hop means: the list's own reading has made each of them one."""
        return hop if hop in self._drafts or hop in self._known else None

    def via(self, draft: Draft) -> str:
        """The name of the platform next to the host on the way to it; empty where there is none. Raises
        InvalidInput."""
        before = ""
        for hop in draft.jumps:
            name = self.of_hop(hop)
            if name is None or name == draft.name:
                raise InvalidInput(f"its jump host {hop} is no platform, and not in the list")
            if before and self._before(name) != before:
                raise InvalidInput(
                    f"its way is {', '.join(draft.jumps)}, but {name} is not reached through {before}"
                )
            before = name
        return before

    def _before(self, name: str) -> str:
        if name in self._known:
            jump = self._known[name].jump_platform_id
            return self._by_id.get(jump, "") if jump is not None else ""
        jumps = self._drafts[name].jumps
        return (self.of_hop(jumps[-1]) or "") if jumps else ""


def settled(inventory: Inventory, known: Mapping[str, Platform]) -> Inventory:
    """The list without the jump hosts that there are already; where another platform has the name of one, it gets the name
    by which the list calls it."""
    places = Places()
    for platform in known.values():
        places.add(platform.name, platform.host, platform.port, platform.username)
    names: dict[str, str] = {}
    drafts = []
    for written in inventory.drafts:
        draft = written
        if draft.hop:
            user, host, port = split_hop(draft.hop)
            named = known.get(host)
            if named is not None and user in ("", named.username) and port in (None, named.port):
                names[draft.name] = named.name
                continue
            if (found := places.find(draft.host, draft.port, draft.username)) is not None:
                names[draft.name] = found
                continue
            if draft.name in known:
                names[draft.name] = draft.hop
                draft = replace(draft, name=draft.hop)
        drafts.append(draft)
    gone = {note for note in names if names[note] in known}
    return Inventory(
        [replace(draft, jumps=tuple(names.get(hop, hop) for hop in draft.jumps)) for draft in drafts],
        inventory.problems,
        [note for note in inventory.notes if note.name not in gone],
    )


def check_ways(steps: Sequence[Step], known: Mapping[str, Platform]) -> None:
    """Mark the steps whose jump hosts form a loop, and those whose jump host cannot be added."""
    by_name = {step.name: step for step in steps}
    reached = {"", *known}
    left = [step for step in in_order(steps) if step.kind == "add"]
    rings = _in_rings(left, by_name)
    for step in left:
        if step.via in reached:
            reached.add(step.name)
        elif step.name in rings:
            step.kind, step.message = "problem", "the jump hosts would form a loop."
        else:
            step.kind, step.message = "problem", f"its jump host {step.via} could not be added"


def _in_rings(steps: Sequence[Step], by_name: Mapping[str, Step]) -> set[str]:
    """The names of those whose way leads through themselves. Each is looked at once."""
    rings: set[str] = set()
    seen: set[str] = set()
    for step in steps:
        way: dict[str, None] = {}
        name = step.name
        while name in by_name and name not in seen:
            seen.add(name)
            way[name] = None
            name = by_name[name].via
        if name in way:
            names = list(way)
            rings.update(names[names.index(name) :])
    return rings


def in_order(steps: Sequence[Step]) -> list[Step]:
    """The steps, jump hosts before those behind them."""
    by_name = {step.name: step for step in steps}
    done: dict[str, Step] = {}
    for step in steps:
        way: dict[str, Step] = {}
        following: Step | None = step
        while following is not None and following.name not in done and following.name not in way:
            way[following.name] = following
            following = by_name.get(following.via)
        done.update(reversed(way.items()))
    return list(done.values())
