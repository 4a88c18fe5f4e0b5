"""Folding of names, and its reverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testum.core.folding import MAX_NAMES, expand, fold


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["web1"], "web1"),
        ([f"web{n:02d}" for n in range(1, 13)], "web[01-12]"),
        (["web07", "web03", "web01", "web02"], "web[01-03,07]"),
        (["n8", "n9", "n10"], "n[8-10]"),
        (["n08", "n09", "n10"], "n[08-10]"),
        (["n098", "n099", "n100"], "n[098-100]"),
        (["n1", "n01"], "n[1,01]"),
        (["r1n01", "r1n02", "r2n01", "r2n02"], "r[1-2]n[01-02]"),
        (["r1n01", "r1n02", "r2n01"], "r1n[01-02],r2n01"),
        (["db", "web2.eu", "web1.eu"], "db,web[1-2].eu"),
        (["10.0.0.1", "10.0.0.2"], "10.0.0.[1-2]"),
        (["a", "a"], "a"),
        ([], ""),
    ],
)
def test_fold(names: list[str], short: str) -> None:
    assert fold(names) == short


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("web[01-03,07]", ["web01", "web02", "web03", "web07"]),
        ("a[1-2]b[8-10]", [f"a{a}b{b}" for a in (1, 2) for b in (8, 9, 10)]),
        ("web1, db*", ["web1", "db*"]),
        ("web[12]", ["web[12]"]),
        ("web[!a-c]*,x", ["web[!a-c]*", "x"]),
        ("web[1-2]*", ["web1*", "web2*"]),
        (",", []),
    ],
)
def test_expand(text: str, names: list[str]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize("text", ["x[9-1]", f"x[0-{MAX_NAMES}]", "x[1-200][1-200]", "x[1-99999999999999999]"])
def test_expand_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"x|\["):
        expand(text)


NAMES = st.sets(
    st.from_regex(r"[a-c]?[0-9]{0,3}[-.]?[a-b]?[0-9]{1,2}(\.eu)?|[a-z]{1,3}", fullmatch=True), max_size=60
)


@given(NAMES)
def test_what_is_folded_unfolds(names: set[str]) -> None:
    unfolded = expand(fold(names))
    assert set(unfolded) == names and len(unfolded) == len(names)


@given(st.sets(st.integers(0, 2000), min_size=1), st.integers(1, 4))
def test_one_family_folds_to_one_word(numbers: set[int], width: int) -> None:
    names = {f"n{number:0{width}d}" for number in numbers}
    assert fold(names).count("n") == 1
    assert set(expand(fold(names))) == names


@given(st.text(max_size=30))
def test_any_text_folds(name: str) -> None:
    assert fold([name]) == name
