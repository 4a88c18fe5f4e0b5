"""How one text differs from another, line by line, in bounded time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

_CONTEXT = 3
MAX_LINES = 1000
"""Lines that are compared of each text, counted from where they begin to differ; their number is what the time
depends on, quadratically."""
MAX_SHOWN = 400


class Change(StrEnum):
    """What became of a line. `GAP` stands for lines that both have and that are left out."""

    SAME = "same"
    REMOVED = "removed"
    ADDED = "added"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Changed:
    """One line of a difference. `old` and `new` are its numbers in both texts, from 1, where it is there."""

    change: Change
    text: str
    old: int | None = None
    new: int | None = None


def differ(old: Sequence[str], new: Sequence[str]) -> tuple[list[Changed], bool]:
    """What leads from the lines `old` to `new`, with a few lines around each change; and whether that is all. No
    lines where both are the same."""
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    start = max(same - _CONTEXT, 0)
    ours, theirs = old[start : start + MAX_LINES], new[start : start + MAX_LINES]
    whole = len(ours) == len(old) - start and len(theirs) == len(new) - start
    told: list[Changed] = []
    for changed in _changes(ours, theirs, start):
        if len(told) == MAX_SHOWN:
            return told, False
        told.append(changed)
    return told, whole


def _changes(old: Sequence[str], new: Sequence[str], start: int) -> Iterator[Changed]:
    groups = SequenceMatcher(None, old, new).get_grouped_opcodes(_CONTEXT)
    for number, group in enumerate(groups):
        if number or start or group[0][1]:
            yield Changed(Change.GAP, "")
        for tag, old_first, old_last, new_first, new_last in group:
            if tag == "equal":
                for place in range(old_last - old_first):
                    before, after = old_first + place, new_first + place
                    yield Changed(Change.SAME, old[before], start + before + 1, start + after + 1)
                continue
            for place in range(old_first, old_last):
                yield Changed(Change.REMOVED, old[place], start + place + 1, None)
            for place in range(new_first, new_last):
                yield Changed(Change.ADDED, new[place], None, start + place + 1)
