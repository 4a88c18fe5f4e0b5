"""Host names of Ansible inventories, with ranges: `web[01:12].example.com:2222`."""

import re
from collections.abc import Sequence
from string import ascii_letters

_MOST_OF_RANGE = 10_000
_LONGEST_NAME = 300
"""Characters. No host's name has so many, and a range makes thousands of them."""
_PLAIN_NAME = re.compile(rf"[^\[:-][^\[:]{{0,{_LONGEST_NAME - 1}}}", re.DOTALL)


def hosts_of(pattern: str) -> list[tuple[str, str]]:
    """The names, each with its port, of `web[01:12].example.com:2222`. Raises ValueError."""
    # Most names are no more than that.
    if _PLAIN_NAME.fullmatch(pattern):
        return [(pattern, "")]
    if len(pattern) > _LONGEST_NAME:
        raise ValueError(f"{pattern[:100]}: a name has at most {_LONGEST_NAME} characters")
    name, colon, port = pattern.rpartition(":")
    # Colons of ranges and brackets apart, one colon is a port's; more of them are an IPv6 address.
    if not colon or not port.isdigit() or ":" in _outside_brackets(name):
        name, port = pattern, ""
    if len(name) <= _LONGEST_ADDRESS and _ADDRESS_IN_BRACKETS.fullmatch(name):
        name = name[1:-1]
    if name.endswith(":") or name.startswith("-"):
        raise ValueError(f"{pattern}: not a host")
    # Nothing is made before all of it is known to be right and not too much.
    pieces: list[tuple[Sequence[object], int]] = []
    number = 1
    parts = re.split(r"\[([0-9]{0,9}:[0-9]{0,9}(?::[0-9]{1,9})?|[a-zA-Z]:[a-zA-Z](?::[0-9]{1,9})?)\]", name)
    for place, piece in enumerate(parts):
        if not place % 2:
            beside_a_range = len(parts) > 1 and not {"[", "]"}.isdisjoint(piece)
            if beside_a_range or any(":" in inside for inside in _in_brackets(piece)):
                raise ValueError(f"{pattern}: not a host")
        pieces.append(_values_of(piece) if place % 2 else ([piece], 0))
        number *= len(pieces[-1][0])
        if number > _MOST_OF_RANGE:
            raise ValueError(f"{pattern}: more than {_MOST_OF_RANGE} hosts")
    names = [""]
    for values, digits in pieces:
        names = [before + str(value).zfill(digits) for before in names for value in values]
    return [(name, port) for name in names]


_LONGEST_ADDRESS = 50
_ADDRESS_IN_BRACKETS = re.compile(r"\[[0-9a-fA-F:.]*(::|(:[0-9a-fA-F]*){7})[0-9a-fA-F:.]*\]")


def _in_brackets(text: str) -> list[str]:
    """What stands from each `[` up to the next `]`. A regular expression would look from each `[` to the end."""
    return [part.partition("[")[2] for part in text.split("]")[:-1]]


def _outside_brackets(text: str) -> str:
    *closed, rest = text.split("]")
    return "".join([part.partition("[")[0] for part in closed]) + rest


def _values_of(text: str) -> tuple[Sequence[object], int]:
    """The values of `01:12`, `:3`, `a:f` or `1:9:2`, as Ansible makes them, and the least number of their digits. Raises
    ValueError."""
    values: Sequence[object]
    digits = 0
    first, last, *more = text.split(":")
    first, step = first or "0", int(*more or ["1"])
    if not last or not step:
        raise ValueError(f"[{text}]: a range is written as first:last or first:last:step")
    if first.isdigit():
        if not last.isdigit():
            raise ValueError(f"[{text}]: a range of numbers ends with a number")
        if first[0] == "0" and len(first) > 1 and len(first) != len(last):
            raise ValueError(f"[{text}]: both ends have the same number of digits")
        if int(last) - int(first) > _MOST_OF_RANGE * step:
            raise ValueError(f"[{text}]: more than {_MOST_OF_RANGE} hosts")
        values, digits = range(int(first), int(last) + 1, step), len(first)
    else:
        # Small letters come before large ones.
        values = ascii_letters[ascii_letters.index(first) : ascii_letters.index(last) + 1 : step]
    if not values:
        raise ValueError(f"[{text}]: runs backwards")
    return values, digits
