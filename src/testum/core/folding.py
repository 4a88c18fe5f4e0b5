"""Many host names as one short text, and back: `web[01-03,07]`, as ClusterShell writes them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

MAX_NAMES = 10_000

# More digits than any host name carries are text: folding them would gain nothing.
_NUMBER = re.compile(r"([0-9]{1,18}(?![0-9]))")
_BRACKET = re.compile(r"\[([0-9]{1,18}(?:-[0-9]{1,18})?(?:,[0-9]{1,18}(?:-[0-9]{1,18})?)*)\]")


def fold(names: Iterable[str]) -> str:
    """The names, sorted, each set that differs in numbers only written as ranges.

    Padding is kept (`web[08-12]` and `web[8-12]` are different sets), and names that differ in more
    than one number fold in each: `r[1-2]n[01-16]`.
    """
    families: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for name in sorted(set(names), key=natural_key):
        parts = _NUMBER.split(name)
        families.setdefault(tuple(parts[::2]), set()).add(tuple(parts[1::2]))
    folded: list[str] = []
    for texts, rows in families.items():
        short = rows
        for place in reversed(range(len(texts) - 1)):
            short = _fold_place(short, place)
        folded.extend(
            _interleave(texts, row)
            for row in sorted(short, key=lambda row: [natural_key(value) for value in row])
        )
    return ",".join(folded)


def expand(text: str) -> list[str]:
    """The names behind `web[01-03,07],db1`; what is not a numeric range stays as it is.

    A bracket without `-` or `,`, such as `web[12]`, is left to the server, which reads it as a pattern:
    1 or 2. Raises ValueError for a range that runs backwards or gives too many names.
    """
    names: list[str] = []
    for word in _split_outside_brackets(text):
        pieces = _BRACKET.split(word)
        ranges = [_expand_range(piece) for piece in pieces[1::2]]
        total = 1
        for values in ranges:
            total *= len(values)
        if total + len(names) > MAX_NAMES:
            raise ValueError(f"{word}: more than {MAX_NAMES} names")
        names.extend(_interleave(pieces[::2], row) for row in product(*ranges))
    return names


def natural_key(name: str) -> tuple[Sequence[str | int], str]:
    """A sort key that puts `web2` before `web10`."""
    parts = _NUMBER.split(name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _interleave(texts: Sequence[str], numbers: Sequence[str]) -> str:
    return "".join(text + number for text, number in zip(texts, (*numbers, ""), strict=True))


def _fold_place(rows: set[tuple[str, ...]], place: int) -> set[tuple[str, ...]]:
    """Rows that are the same but for the number at `place`, as one row with a range there."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for row in rows:
        groups.setdefault((row[:place], row[place + 1 :]), []).append(row[place])
    return {(*before, _ranges(values), *after) for (before, after), values in groups.items()}


def _ranges(values: list[str]) -> str:
    """`["01", "02", "07"]` as `[01-02,07]`; one value as itself."""
    if len(values) == 1:
        return values[0]
    runs: list[list[str]] = []
    for value in sorted(values, key=lambda value: (int(value), len(value))):
        if runs and value == _next(runs[-1]):
            runs[-1].append(value)
        else:
            runs.append([value])
    return "[" + ",".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) + "]"


def _next(run: Sequence[str]) -> str:
    """The number after a run's last, as wide as its first: 08, 09, 10."""
    return str(int(run[-1]) + 1).zfill(len(run[0]))


def _expand_range(text: str) -> list[str]:
    if text.isdigit():
        return [f"[{text}]"]
    values: list[str] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if high < low:
            raise ValueError(f"[{text}]: {part} runs backwards")
        if high - low >= MAX_NAMES:
            raise ValueError(f"[{text}]: more than {MAX_NAMES} names")
        values.extend(str(number).zfill(len(first)) for number in range(low, high + 1))
    return values


def _split_outside_brackets(text: str) -> Iterator[str]:
    for word in re.split(r",(?![^\[]*\])", text):
        if word.strip():
            yield word.strip()
