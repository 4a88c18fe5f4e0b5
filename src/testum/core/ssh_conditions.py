"""Conditions of OpenSSH's client configuration: which connections the lines after Host and Match are for (ssh_config(5))."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from testum.core.ssh_lines import Unreadable, first_word
from testum.core.ssh_patterns import Patterns

_LONGEST_NAME = 1_025
"""Characters of a host's name (NI_MAXHOST)."""
_MOST_CRITERIA = 50


def expand(text: str, tokens: Mapping[str, str]) -> str:
    """The text with its `%` tokens replaced; those that are not among the tokens stay."""
    return re.sub(r"%(.)", lambda match: "%" if match[1] == "%" else tokens.get(match[1], match[0]), text)


def is_address(host: str) -> bool:
    """Whether a host is written as an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _uncounted(_comparisons: int) -> None:
    """Stands where nobody counts comparisons."""


@dataclass(slots=True)
class Asked:
    """What is known of one connection while its configuration is read: `original` is what was typed, `host` the same, or in
    the final pass what HostName has made of it. `values` and `key_files` are what was found so far.
    `look` is told how many comparisons are made."""

    original: str
    host: str
    local_user: str = ""
    final: bool = False
    values: dict[str, str] = field(default_factory=dict)
    key_files: list[str] = field(default_factory=list)
    look: Callable[[int], None] = _uncounted
    _led: tuple[str, str] = ("", "")

    def hostname(self) -> str:
        """Where HostName leads, as far as it is known; no longer than is needed to see that it is too long."""
        said = self.values.get("hostname")
        if self.final or said is None:
            return self.host
        if self._led[0] != said:
            # Each of many conditions may ask for it.
            self._led = said, expand(said, {"h": self.original})[: _LONGEST_NAME + 1]
        return self._led[1]

    @property
    def canonicalizes(self) -> bool:
        """Whether CanonicalizeHostname is on."""
        return self.values.get("canonicalizehostname", "no").lower() not in ("no", "false")

    @property
    def may_be_completed(self) -> bool:
        """Whether ssh would look for the name in CanonicalDomains first."""
        dots = self.values.get("canonicalizemaxdots", "1")
        return (
            self.canonicalizes
            and self.values.get("canonicaldomains", "none").lower() != "none"
            and not is_address(self.hostname())
            and (not dots.isdecimal() or self.hostname().count(".") <= int(dots))
        )


class HostLine:
    """A Host line."""

    def __init__(self, written: Sequence[str]) -> None:
        self.written = written
        self.patterns = Patterns(written)
        self.weight = self.patterns.weight

    def holds(self, asked: Asked) -> bool | None:
        """Whether what follows is for the one who asks; None where nobody here can know."""
        return self.patterns.fit(asked.host, asked.look)

    @property
    def wanted(self) -> Patterns | None:
        """What the name that is typed, or where it leads, must fit; None where that is not all that counts."""
        return self.patterns


_Criterion = tuple[str, bool, Patterns]
"""Its name, whether it is negated, and its argument."""


class MatchLine:
    """A Match line."""

    def __init__(self, criteria: Sequence[_Criterion]) -> None:
        self.criteria = criteria
        self.weight = sum(patterns.weight for _, _, patterns in criteria)
        self.wanted = next(
            (patterns for name, negated, patterns in criteria if name == "originalhost" and not negated), None
        )
        """See HostLine."""

    def holds(self, asked: Asked) -> bool | None:
        """See HostLine."""
        asked.look(len(self.criteria))
        result: bool | None = True
        for name, negated, patterns in self.criteria:
            if name == "all":
                return None if result is None else result and not negated
            holds = self._holds(name, patterns, asked)
            if holds is not None:
                holds = holds is not negated
            if holds is False:
                return False
            if holds is None:
                result = None
        return result

    @staticmethod
    def _holds(name: str, patterns: Patterns, asked: Asked) -> bool | None:
        match name:
            case "final" | "canonical":
                return asked.final
            case "host":
                return patterns.fit(asked.hostname().lower(), asked.look)
            case "originalhost":
                return patterns.fit(asked.original.lower(), asked.look)
            case "user":
                user = asked.values.get("user", asked.local_user)
                return patterns.fit(user, asked.look) if user else None
            case "localuser":
                return patterns.fit(asked.local_user, asked.look) if asked.local_user else None
        return None


NEVER = HostLine(())
"""Holds for nobody: stands in the place of a condition that cannot be read."""
_ARGUMENTLESS = frozenset({"all", "final", "canonical"})
_CRITERIA = _ARGUMENTLESS | {"host", "originalhost", "user", "localuser", "exec", "localnetwork", "tagged"}


def match_line(text: str) -> MatchLine:
    """The criteria of a Match line. Raises Unreadable."""
    criteria: list[_Criterion] = []
    rest: str | None = text
    while rest:
        word, rest = first_word(rest)
        if not word or word.startswith("#"):
            break
        negated, name = word.startswith("!"), word.removeprefix("!").lower()
        if name not in _CRITERIA:
            raise Unreadable(f"Match: {word[:60]} is not known")
        argument = ""
        if name not in _ARGUMENTLESS:
            given, rest = first_word(rest) if rest else (None, None)
            if not given or given.startswith("#"):
                raise Unreadable(f"Match: {word[:60]} needs a value")
            argument = given
        elif name == "all" and (len(criteria) > 1 or (rest and not rest.startswith("#"))):
            raise Unreadable("Match: all stands alone, or behind one other")
        if len(criteria) >= _MOST_CRITERIA:
            raise Unreadable(f"Match: more than {_MOST_CRITERIA} conditions")
        argument = argument.lower() if name in ("host", "originalhost") else argument
        criteria.append((name, negated, Patterns(argument.split(","))))
    if not criteria:
        raise Unreadable("Match: its value is missing")
    return MatchLine(criteria)


Condition = HostLine | MatchLine
