"""The way to a host over other hosts, as the options of ssh name it."""

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from ipaddress import IPv6Address
from typing import TypeVar
from urllib.parse import unquote

from testum.core.shell_words import shell_words
from testum.core.ssh_lines import Unreadable

Way = TypeVar("Way")


def _kept(read: Callable[[str], Way]) -> Callable[[str], Way]:
    """Keep the answer, or the refusal, for each text: many hosts have the same one."""

    @lru_cache(1000)
    def attempt(text: str) -> tuple[Way | None, str]:
        try:
            return read(text), ""
        except Unreadable as error:
            return None, str(error)

    @wraps(read)
    def again(text: str) -> Way:
        answer, refusal = attempt(text)
        if answer is None:
            raise Unreadable(refusal)
        return answer

    return again


_LONGEST = 4_000


@dataclass(frozen=True, slots=True)
class Arguments:
    """What arguments for ssh say of a way: `hops` of `-J`, `-o ProxyJump` or `-o ProxyCommand`, nearest to the client first,
    and `port`, `user` and `hostname` where they name them, too."""

    hops: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)


@_kept
def arguments_of(arguments: str) -> Arguments:
    """The first option counts, as for ssh. Raises Unreadable, also for a ProxyCommand that is no way over hosts, and for a
    configuration file of their own."""
    refusal = Unreadable(f"its arguments for ssh cannot be read: {arguments[:100]}")
    if len(arguments) > _LONGEST:
        raise refusal
    try:
        words = shell_words(arguments, comments=False)
    except ValueError:
        raise refusal from None
    hops: tuple[str, ...] | None = None
    named: dict[str, str] = {}
    for name, value in _options(words):
        if name == "configfile" and value not in ("none", "/dev/null"):
            raise Unreadable(f"its arguments for ssh name a configuration of their own: -F {value[:100]}")
        if name in _OF_LOGIN:
            named.setdefault(name, value)
        elif hops is not None or name not in ("proxyjump", "proxycommand"):
            continue
        elif value.lower() == "none":
            hops = ()
        elif name == "proxyjump":
            hops = hops_of(value)
        else:
            hops = (hop_of(gate_of(value)),)
    return Arguments(hops or (), named)


_OF_LOGIN = frozenset({"port", "user", "hostname"})


_LONGEST_HOP = 255
_MOST_HOPS = 50
"""On one way."""


@_kept
def hops_of(text: str) -> tuple[str, ...]:
    """The hops that commas part, as ProxyJump has them. Raises Unreadable."""
    hops = text.split(",")
    if len(hops) > _MOST_HOPS:
        raise Unreadable(f"its way has more than {_MOST_HOPS} jump hosts")
    return tuple(hop_of(hop.strip()) for hop in hops)


_WITH_VALUE = frozenset("BbcDEeFIiJLlmOopQRSWw")
"""Options of ssh(1) that take an argument."""
_NAMED = {"J": "proxyjump", "F": "configfile", "p": "port", "l": "user"}


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """The names in small letters, and values, of the options that say something of the way or the login."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            continue
        letters = word[1:]
        for place, letter in enumerate(letters):
            if letter not in _WITH_VALUE:
                continue
            value = letters[place + 1 :] or next(rest, "")
            if letter in _NAMED:
                yield _NAMED[letter], value
            elif letter == "o":
                name, _, said = re.sub(r"^\s*(\w+)\s*[=\s]\s*", r"\1=", value).partition("=")
                yield name.lower(), said
            break


def hop_of(text: str) -> str:
    """`name` or `user@host:port`, as ssh reads it from `ssh://user@host:port` too. Raises Unreadable."""
    if text.startswith("ssh://"):
        # A URI may have parameters behind the user, and any sign as its number (RFC 3986).
        user, at, rest = text[6:].rpartition("@")
        text = unquote(user.partition(";")[0]) + at + rest
    found = re.fullmatch(
        r"(?:([^\s]+)@)?(\[[^\]\s]+\]|[^:@\s/]+)(?::([0-9]{1,5}))?/?",
        text,
    )
    if found is None or len(text) > _LONGEST_HOP or not 1 <= int(found[3] or 22) <= 65535:
        raise Unreadable(f"its jump host {text[:100]} cannot be read")
    user, host, port = found.groups()
    return (f"{user}@" if user else "") + host + (f":{port}" if port else "")


_HARMLESS = frozenset("46AaCfGgKkMNnqsTtVvXxYy")
_THROUGH = frozenset({"%h:%p", "[%h]:%p"})


@_kept
def gate_of(command: str) -> str:
    """The jump host of a command that only leads through one: `ssh -W %h:%p gate`, or `ssh gate nc %h %p`. Raises
    Unreadable."""
    refusal = Unreadable(f"its ProxyCommand is not understood: {command[:100]}")
    try:
        words = deque(shell_words(command.removeprefix("exec "), comments=False))
    except ValueError:
        raise refusal from None
    if not words or words.popleft().rpartition("/")[2] != "ssh":
        raise refusal
    user = port = gate = ""
    through = False
    while words and not (gate and not words[0].startswith("-")):
        word = words.popleft()
        if not word.startswith("-"):
            gate = word
            if "@" in gate and not user:
                user, _, gate = gate.rpartition("@")
            gate = gate.rpartition("@")[2]
            continue
        option, value = word[1:2], word[2:]
        if option in _HARMLESS and set(value) <= _HARMLESS:
            continue
        value = value or (words.popleft() if words else "")
        match option:
            case "W" if value in _THROUGH:
                through = True
            # The first one counts.
            case "l":
                user = user or value
            case "p":
                port = port or value
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
        words.clear()
    # A port stands in -p alone; what has colons is an address of IPv6.
    if not gate or not through or words or re.search(r"[/\[\]]", gate):
        raise refusal
    if ":" in gate:
        try:
            gate = f"[{IPv6Address(gate)}]"
        except ValueError:
            raise refusal from None
    return (f"{user}@" if user else "") + gate + (f":{port}" if port else "")
