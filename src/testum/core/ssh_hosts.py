"""The hosts of an OpenSSH client configuration as drafts of platforms: what ssh would use for each name, and the jump hosts
on the way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from testum.core.hops import add_hops, hop_draft, split_hop
from testum.core.inventory import Draft, Inventory, Problem, parse_port, too_much_is_a_problem
from testum.core.ssh_conditions import Asked, expand
from testum.core.ssh_config import Include, SshConfig
from testum.core.ssh_lines import Unreadable
from testum.core.ssh_way import gate_of, hop_of, hops_of


def parse_ssh_config(text: str, include: Include | None = None, local_user: str = "") -> Inventory:
    """Every name of a Host line without a wildcard, with the values that ssh would use for it.

    `include` resolves Include directives; without it there is a note. `local_user`: who runs ssh, where that is known.
    What cannot be known here (`Match exec` and the like) is left out, with a note that names the hosts it may concern.
    """
    found = Inventory()
    config = SshConfig(include, found)
    open_: dict[tuple[int, str], list[str]] = {}
    completed: list[str] = []
    with too_much_is_a_problem(found):
        config.read(text)
        for alias, (line, file) in config.aliases.items():
            asked = Asked(alias, alias, local_user=local_user)
            for block in config.ask(asked):
                open_.setdefault((block.line, block.file), []).append(alias)
            if asked.may_be_completed:
                completed.append(alias)
            try:
                found.add(_draft(asked, line))
            except Unreadable as error:
                found.problems.append(Problem(line, str(error), alias, file))
        # What ssh would use for it, as it does when it connects to it.
        add_hops(
            found,
            lambda user, host, port, line: _hop(config, Asked(host, host, local_user), user, port, line),
            knows_user=True,
        )
    with too_much_is_a_problem(found):
        for (line, file), names in open_.items():
            message = f"Match is not used: it depends on the moment. It may be about {_some(names)}"
            found.note(Problem(line, message, file=file))
        if completed and config.domains_at:
            line, file = config.domains_at
            message = (
                f"CanonicalDomains is not used: it depends on the network. It may be about {_some(completed)}"
            )
            found.note(Problem(line, message, file=file))
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _hop(config: SshConfig, asked: Asked, user: str, port: int | None, line: int) -> Draft:
    """A jump host that has no name of its own in the file. What is written with it counts before the file."""
    asked.values |= {name: said for name, said in (("user", user), ("port", str(port or ""))) if said}
    config.ask(asked)
    try:
        return _draft(asked, line)
    except Unreadable as error:
        # It costs only those behind it.
        return replace(hop_draft(user, asked.original, port, line), problem=str(error))


def _draft(asked: Asked, line: int) -> Draft:
    """Raises Unreadable."""
    port = parse_port(asked.values.get("port", ""))
    if port is None:
        raise Unreadable("Port: a number from 1 to 65535")
    host = asked.hostname()
    user = asked.values.get("user", "")
    tokens = {"h": host, "n": asked.original, "r": user or asked.local_user, "p": str(port)}
    key_files = [path for path in asked.key_files if path.lower() != "none"]
    asked.look(len(key_files) // 4 + 2 * sum(path.count("%") for path in key_files))
    jumps = tuple(_jumps(asked, tokens))
    return Draft(
        name=asked.original,
        host=host,
        line=line,
        port=port,
        username=user,
        key_files=tuple(expand(path, tokens) if "%" in path else path for path in key_files),
        # `Host *` often names a jump host for all, itself included.
        jumps=() if [split_hop(hop)[1] for hop in jumps] == [asked.original] else jumps,
    )


_LOOKS_OF_A_HOP = 25


def _jumps(asked: Asked, tokens: Mapping[str, str]) -> Iterator[str]:
    """The hops on the way, nearest to the client first. Raises Unreadable."""
    jump = asked.values.get("proxyjump", "")
    command = asked.values.get("proxycommand", "none").strip()
    if jump and jump.lower() != "none":
        asked.look(_LOOKS_OF_A_HOP * jump.count(","))
        yield from hops_of(expand(jump, tokens))
    elif command.lower() != "none":
        yield hop_of(expand(gate_of(command), tokens))
