"""Reading an Ansible inventory in INI form, as Ansible's ini inventory plugin does."""

import ast
import re
from collections.abc import Sequence

from testum.core.ansible import Listed
from testum.core.ansible_hosts import hosts_of
from testum.core.ansible_variables import USED, check_value
from testum.core.inventory import Inventory, Problem, lines_of, too_much_is_a_problem
from testum.core.shell_words import shell_words

_MOST_OF_LITERAL = 200
_LONGEST_LINE = 100_000
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


def _read_ini(text: str, listed: Listed, found: Inventory) -> None:
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


_SELF = re.compile(r"(?!(True|False|None)$)[A-Za-z_][\w.@/-]*|0|[1-9][0-9]{0,17}", re.ASCII)
"""Names and numbers are what they are, as most values; Python's parser would take many times as long."""
_QUOTED = re.compile(r"'([^'\\]*)'|\"([^\"\\]*)\"")
_SIGNS = re.compile(r"[(\[{~+,-]")
_MOST_SIGNS = 10
"""Signs of a literal that is evaluated. Nested, each takes Python's parser long; a value for a login has few."""


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
