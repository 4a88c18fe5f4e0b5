"""The hosts of an OpenSSH client configuration as drafts of platforms: what ssh would use for each name, and the jump hosts
on the way."""

import re
import shlex
from collections.abc import Iterator, Mapping

from testum.core.inventory import Draft, Inventory, Problem, parse_port
from testum.core.ssh_config import Asked, Include, SshConfig, TooMuch, expand
from testum.core.ssh_lines import Unreadable


def parse_ssh_config(text: str, include: Include | None = None, local_user: str = "") -> Inventory:
    """Every name of a Host line without a wildcard, with the values that ssh would use for it.

    `include` resolves Include directives; without it there is a note. `local_user`: who runs ssh, where that is known.
    What cannot be known here (`Match exec` and the like) is left out, with a note that names the hosts it may concern.
    """
    found = Inventory()
    config = SshConfig(include, found)
    open_: dict[tuple[int, str], list[str]] = {}
    try:
        config.read(text)
        for alias, (line, file) in config.aliases.items():
            asked = Asked(alias, alias, local_user=local_user)
            for block in config.ask(asked):
                open_.setdefault((block.line, block.file), []).append(alias)
            try:
                found.add(_draft(asked, line))
            except Unreadable as error:
                found.problems.append(Problem(line, str(error), alias, file))
    except TooMuch as error:
        found.problems.append(Problem(1, str(error)))
    for (line, file), names in open_.items():
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        message = (
            f"Match is not used: it depends on the moment. It may be about {', '.join(names[:10])}{more}"
        )
        found.notes.append(Problem(line, message, file=file))
    return found


def _draft(asked: Asked, line: int) -> Draft:
    """Raises Unreadable."""
    port = parse_port(asked.values.get("port", ""))
    if port is None:
        raise Unreadable("Port: a number from 1 to 65535")
    host = asked.hostname()
    user = asked.values.get("user", "")
    tokens = {"h": host, "n": asked.original, "r": user or asked.local_user, "p": str(port)}
    jumps = tuple(_jumps(asked, tokens))
    return Draft(
        name=asked.original,
        host=host,
        line=line,
        port=port,
        username=user,
        key_files=tuple(expand(path, tokens) for path in asked.key_files if path.lower() != "none"),
        # `Host *` often names a jump host for all, itself included.
        jumps=() if jumps == (asked.original,) else jumps,
    )


def _jumps(asked: Asked, tokens: Mapping[str, str]) -> Iterator[str]:
    """The hops on the way, nearest to the client first. Raises Unreadable."""
    jump = asked.values.get("proxyjump", "")
    command = asked.values.get("proxycommand", "none").strip()
    if jump and jump.lower() != "none":
        for hop in jump.split(","):
            yield _hop(expand(hop.strip(), tokens))
    elif command.lower() != "none":
        yield _hop(_gate(command))


def _hop(text: str) -> str:
    """`name` or `user@host:port`, as ssh reads it from `ssh://user@host:port` too. Raises Unreadable."""
    found = re.fullmatch(
        r"(?:ssh://)?(?:([^@\s]+)@)?(\[[^\]\s]+\]|[^:@\s/]+|[0-9A-Fa-f:]+:[0-9A-Fa-f:]*)(?::([0-9]+))?/?",
        text,
    )
    if found is None:
        raise Unreadable(f"its jump host {text[:100]} cannot be read")
    user, host, port = found.groups()
    return (f"{user}@" if user else "") + host + (f":{port}" if port else "")


_HARMLESS = frozenset("46AaCfGgKkMNnqsTtVvXxYy")
_THROUGH = frozenset({"%h:%p", "[%h]:%p"})


def _gate(command: str) -> str:
    """The jump host of a command that only leads through one: `ssh -W %h:%p gate`, or `ssh gate nc %h %p`. Raises
    Unreadable."""
    refusal = Unreadable(f"its ProxyCommand is not understood: {command[:100]}")
    try:
        words = shlex.split(command.removeprefix("exec "))
    except ValueError:
        raise refusal from None
    if not words or words.pop(0).rpartition("/")[2] != "ssh":
        raise refusal
    user = port = gate = ""
    through = False
    while words and not (gate and not words[0].startswith("-")):
        word = words.pop(0)
        if not word.startswith("-"):
            gate = word
            continue
        option, value = word[1:2], word[2:]
        if option in _HARMLESS and set(value) <= _HARMLESS:
            continue
        value = value or (words.pop(0) if words else "")
        match option:
            case "W" if value in _THROUGH:
                through = True
            case "l":
                user = value
            case "p":
                port = value
            case "o" if re.match(
                r"(?i)(StrictHostKeyChecking|UserKnownHostsFile|ConnectTimeout|LogLevel|ServerAlive\w+|BatchMode)\b",
                value,
            ):
                pass
            case _:
                raise refusal
    if not through and words:
        tool, *arguments = words
        while len(arguments) > 2 and arguments[0].startswith("-"):
            del arguments[: 2 if re.fullmatch("-[wq]", arguments[0]) else 1]
        through = tool.rpartition("/")[2] in ("nc", "ncat", "netcat") and arguments == ["%h", "%p"]
        words = []
    if not gate or not through or words:
        raise refusal
    if user and "@" not in gate:
        gate = f"{user}@{gate}"
    return f"{gate}:{port}" if port else gate
