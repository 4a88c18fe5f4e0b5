"""Jump hosts in a list: how hops are written, and the drafts that they become."""

import re
from collections.abc import Callable
from dataclasses import replace

from testum.core.inventory import MAX_HOSTS, Draft, Inventory, Problem, TooMuch

_MOST_HOPS = 100_000
"""On the ways to all hosts together."""


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
