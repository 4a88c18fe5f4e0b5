"""How one text differs from another."""

import time

from hypothesis import given
from hypothesis import strategies as st

from testum.core.difference import MAX_LINES, MAX_SHOWN, Change, differ

LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=30)


@given(LINES, LINES)
def test_the_changes_lead_from_one_to_the_other(old: list[str], new: list[str]) -> None:
    told, whole = differ(old, new)
    assert whole and (told == []) is (old == new)
    made = list(old)
    for line in reversed(told):
        if line.change is Change.REMOVED:
            assert line.old is not None and made.pop(line.old - 1) == line.text
    for line in told:
        if line.change is Change.ADDED:
            assert line.new is not None
            made.insert(line.new - 1, line.text)
        if line.change is Change.SAME:
            assert line.old is not None and line.new is not None
            assert old[line.old - 1] == new[line.new - 1] == line.text
    assert made == new


def test_only_the_surroundings_of_a_change_are_told() -> None:
    old = [str(number) for number in range(100)]
    new = [*old[:50], "other", *old[51:]]
    told, whole = differ(old, new)
    assert whole
    assert [(line.change, line.text) for line in told] == [
        (Change.GAP, ""),
        *((Change.SAME, str(number)) for number in (47, 48, 49)),
        (Change.REMOVED, "50"),
        (Change.ADDED, "other"),
        *((Change.SAME, str(number)) for number in (51, 52, 53)),
    ]


def test_what_is_large_is_cut_and_takes_no_time() -> None:
    started = time.process_time()
    for old, new in [
        ([str(number) for number in range(200_000)], [str(number * 7) for number in range(200_000)]),
        (["same", "x"] * 100_000, ["x", "same", "same"] * 60_000),
        ([str(number % 150) for number in range(2000)], [str(number % 149) for number in range(2000)]),
    ]:
        told, whole = differ(old, new)
        assert not whole and 0 < len(told) <= MAX_SHOWN
    assert time.process_time() - started < 5
    long = [str(number) for number in range(MAX_LINES + 10)]
    assert differ(long, long) == ([], True)
