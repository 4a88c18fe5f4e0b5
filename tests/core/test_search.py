"""Searching rows: against a plain look at each of them."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testum.core.frames import Stream
from testum.core.search import MAX_PATTERN, Hits, Matcher, Query, Search
from testum.errors import InvalidInput

ROWS = st.lists(st.sampled_from(["", "a", "ab", "A b", "xyz", "é", "É", "a\x1b[1mb", "old\rab"]), max_size=60)


def shown(row: str) -> str:
    return row.replace("\x1b[1m", "").rpartition("\r")[2]


def search_of(rows: list[str], matcher: Matcher, **options: int) -> Search:
    search = Search(matcher, **options)
    data = "".join(f"{row}\n" for row in rows).encode()
    for position in range(0, len(data), 7):
        search.take(Stream.STDOUT, data[position : position + 7])
        if position % 21 == 0:
            search.settle()
    search.finish()
    return search


@given(
    ROWS,
    # For RE2 words are made of ASCII's letters, whence (?a).
    st.sampled_from([
        (Query("ab"), "(?i)ab"), (Query("AB", case=True), "AB"), (Query("é"), "(?i)é"), (Query("a.", regex=True), "(?i)a."),
        (Query("^$", regex=True), "^$"), (Query("z?", regex=True), "z?"), (Query("^a|z$", regex=True), "(?i)^a|z$"), (Query("a."), "(?i)a\\."),
        (Query(r"\b", regex=True), r"(?a)\b"), (Query("$", regex=True), "$"), (Query("b|$", regex=True), "b|$"),
        (Query("[^a]", regex=True), "(?i)[^a]"),
    ]),
    st.integers(1, 30), st.integers(2, 5), st.integers(1, 70),
)  # fmt: skip
def test_the_matches_and_their_places(
    rows: list[str], case: tuple[Query, str], step: int, most: int, start: int
) -> None:
    query, plain = case
    expected = [number for number, row in enumerate(rows, start=1) if re.search(plain, shown(row))]
    search = search_of(rows, Matcher(query), step=step, most=most)
    assert (search.count, search.rows) == (len(expected), len(rows))
    for forward in (True, False):
        found, place = [], start
        while (stretch := search.stretch(place, forward=forward)) is not None:
            first, last, before = stretch
            there = [number for number in expected if first <= number <= last]
            assert before == len([number for number in expected if number < first])
            found += [number for number in there if (number >= start) is forward]
            place = last + 1 if forward else first
        assert sorted(found) == [number for number in expected if (number >= start) is forward]


def test_rows_of_two_streams_are_kept_apart() -> None:
    search = Search(Matcher(Query("ab")))
    for stream, data in [(Stream.STDOUT, b"a"), (Stream.STDERR, b"b\nab"), (Stream.STDOUT, b"b")]:
        search.take(stream, data)
    search.settle()
    assert (search.count, search.rows) == (1, 3), "the last row is not over yet"
    search.finish()
    assert (search.count, search.rows) == (1, 4)


def test_a_row_without_end_is_searched_in_parts() -> None:
    search = Search(Matcher(Query("needle")))
    search.take(Stream.STDOUT, b"needle" + b"x" * 2_000_000)
    for _ in range(20):
        search.take(Stream.STDOUT, b"y" * 200_000)
    assert search.size < 2_000_000
    search.take(Stream.STDOUT, b"needle\nneedle\nother")
    search.finish()
    assert (search.count, search.rows) == (2, 3)
    hits = Hits(search.matcher, 7)
    hits.take(Stream.STDERR, b"x" * 1_100_000)
    hits.take(Stream.STDERR, b"needle\nneedle\n" + b"needle" + b"x" * 1_200_000)
    hits.take(Stream.STDERR, b"needle\n")
    assert (hits.found, hits.rows) == ([7, 8], 8)
    hits.finish()
    assert (hits.found, hits.rows) == ([7, 8, 9], 9)
    hits.take(Stream.STDERR, b"needle" + b"x" * 1_200_000)
    hits.take(Stream.STDERR, b"x\n")
    hits.finish()
    assert (hits.found, hits.rows) == ([7, 8, 9, 10], 10), "its end alone does not match"


@pytest.mark.parametrize("text", ["", "a\nb", "x" * (MAX_PATTERN + 1)])
def test_what_cannot_be_looked_for(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^q: "):
        Matcher(Query(text))


@pytest.mark.parametrize(
    "text", ["(", "[", "a{1,100000}", "(?<=a)b", "\\1", "\ud800", "(?P<n>a{1000}){1000}"]
)
def test_no_regular_expression(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^The expression cannot be read: ") as caught:
        Matcher(Query(text, regex=True))
    assert caught.value.code == "bad_expression" and caught.value.fields[0].field == "q"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(", "missing )"),
        ("a)", "unexpected )"),
        # Whole only with what is put around it.
        ("a)(?m:b", "unexpected )"),
        (r"a\q", r"invalid escape sequence: \q"),
        ("[z-a]", "invalid character class range: z-a"),
        ("a{1000}{1000}b", "bad repetition operator: {1000}{1000}"),
        ("(?P<n>a{1000}){1000}", "invalid repetition size: {1000}"),
        ("\ud800", "invalid UTF-8"),
        (r"a\C", r"\C matches parts of characters, and newlines"),
    ],
)
def test_what_is_wrong_with_an_expression_is_told_in_words_of_its_own(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Matcher(Query(text, regex=True))
    assert caught.value.message == f"The expression cannot be read: {reason}."
    assert caught.value.fields[0].message == reason


@pytest.mark.parametrize(
    ("text", "allowed"), [(r"a\C", False), (r"\\\C", False), (r"\\C", True), (r"\\\\C", True)]
)
def test_a_part_of_a_character_is_not_looked_for(text: str, allowed: bool) -> None:
    """It would match newlines, too, and rows that are two."""
    if allowed:
        assert Matcher(Query(text, case=True, regex=True)).count(b"\\C\n\\\\C\n") > 0
        return
    with pytest.raises(InvalidInput, match=r"cannot be read: \\C matches"):
        Matcher(Query(text, regex=True))


def test_a_catastrophic_pattern_is_none() -> None:
    rows = b"".join(b"a" * 200 + b"!\n" for _ in range(5000))
    started = time.process_time()
    assert Matcher(Query("(a+)+$", regex=True)).count(rows) == 0
    assert Matcher(Query("(?:a?){50}a{50}b", regex=True)).count(rows) == 0
    assert time.process_time() - started < 10


def test_what_matches_nothing_is_marked_nowhere() -> None:
    assert Matcher(Query("x*", regex=True)).spans(b"abc") == []
    assert Matcher(Query("b+", regex=True)).spans(b"abbcb") == [(1, 3), (4, 5)]
