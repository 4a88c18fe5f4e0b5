"""Positions: unique, increasing, and a watermark that nothing stored later can slip under."""

from hypothesis import given
from hypothesis import strategies as st

from testum.core.positions import Sequencer


def test_positions_grow_although_the_clock_stands_still_or_goes_back() -> None:
    clock = iter([100, 100, 50, 200])
    sequencer = Sequencer(lambda: next(clock), lambda: 0)
    assert [sequencer.reserve("job") for _ in range(4)] == [100, 101, 102, 200]


def test_time_goes_on_where_the_clock_is_set_back() -> None:
    """What lies between two positions is how long it took, whatever was done to the clock meanwhile."""
    wall, steady = 1_000_000, 5_000
    sequencer = Sequencer(lambda: wall, lambda: steady)
    first = sequencer.reserve("job")
    wall, steady = wall - 400_000, steady + 14_000
    assert sequencer.reserve("job") - first == 14_000
    wall, steady = wall + 300, steady + 300
    assert sequencer.watermark("other") - first == 14_300
    # A machine that slept, or whose clock is right again.
    wall, steady = 2_000_000, steady + 1
    assert sequencer.reserve("job") == 2_000_000


def test_what_an_earlier_process_has_given_comes_before() -> None:
    wall, steady = 1_000_000, 0
    sequencer = Sequencer(lambda: wall, lambda: steady)
    sequencer.go_on_after(1_500_000)
    assert sequencer.reserve("job") == 1_500_001
    steady += 700
    assert sequencer.reserve("job") == 1_500_700
    sequencer.go_on_after(3)
    assert sequencer.reserve("job") == 1_500_701


def test_the_watermark_waits_for_what_is_not_stored_yet() -> None:
    sequencer = Sequencer(lambda: 1000)
    first = sequencer.reserve("job")
    second = sequencer.reserve("job")
    sequencer.release("job", second)
    assert sequencer.watermark("job") == first - 1
    sequencer.release("job", first)
    assert sequencer.watermark("job") >= second
    mark = sequencer.watermark("other")
    assert sequencer.reserve("other") > mark


def test_a_row_of_positions_is_held_back_whole() -> None:
    sequencer = Sequencer(lambda: 1000)
    last = sequencer.reserve("job", 2)
    assert sequencer.watermark("job") < last - 1
    assert sequencer.reserve("job", 2) - 1 > last


@given(
    st.lists(
        st.tuples(st.sampled_from(["reserve", "release"]), st.integers(0, 5), st.integers(0, 3)), max_size=60
    )
)
def test_nothing_is_reserved_at_or_below_a_watermark_that_was_given(
    steps: list[tuple[str, int, int]],
) -> None:
    time = 0
    sequencer = Sequencer(lambda: time)
    held: list[int] = []
    given_marks = 0
    for step, index, advance in steps:
        time += advance
        if step == "reserve":
            position = sequencer.reserve("job", 1 + index % 2)
            assert position - index % 2 > given_marks
            held.append(position)
        elif held:
            sequencer.release("job", held.pop(index % len(held)))
        mark = sequencer.watermark("job")
        assert all(mark < position for position in held)
        given_marks = max(given_marks, mark)
