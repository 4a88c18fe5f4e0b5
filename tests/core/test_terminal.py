"""What a terminal would have shown."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testum.core.frames import Stream
from testum.core.lines import show
from testum.core.rows import Row
from testum.core.search import Matcher, Query
from testum.core.terminal import restyle, style_after, styled, visible


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"plain\n", b"plain\n"),
        (b"\x1b[1;31mred\x1b[0m\n", b"red\n"),
        (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", b"alink\n"),
        (b"\x1b[2J\x1b[10;10Hx\x1b[?25l\x1b(B\x1b7\x1bM\n", b"x\n"),
        (b"10%\r20%\r100%\n", b"100%\n"),
        (b"dos\r\nlines\r\n", b"dos\nlines\n"),
        (b"a\rb\r\r\nc", b"b\nc"),
        (b"lone\x1b\x1b]unended\n", b"lone\x1b\x1b]unended\n"),
        (b"\x1b", b"\x1b"),
        (b"\r\r", b""),
        (b"Working |\x08/\x08-\x08\\\x08done\n", b"Working done\n"),
        (b"Downloading 50%\r\x1b[K\nnext\n", b"\nnext\n"),
        (b"100%\rok\n", b"ok0%\n"),
        (b"\x08\x08a\x08\x08b\n", b"b\n"),
        (b"one two\x1b[3D\x1b[K2\x1b[1Kx\n", b"     x\n"),
        (b"gone\x1b[2Kx\n", b"    x\n"),
        (b"abc\x1b[2Gx\x1b[Gy\x1b[10Gz\n", b"yxc      z\n"),
        (b"ab\x1b[5D>\x1b[2C<\n", b">b <\n"),
        (b"a\x1b[999999999Gb\n", b"a" + b" " * 498 + b"b\n"),
        (b"a\tb\rx\ty\n", b"x\ty\n"),
        (b"a\tb\r123\n", b"123     b\n"),
        ("ж\x08x \u4e16\u754c\x08\x08y\n".encode(), "x \u4e16y \n".encode()),
        ("\u4e16\x08y\n".encode(), b" y\n"),
        ("e\u0301x\ra\u0301\n".encode(), "a\u0301x\n".encode()),
        (b"\xff\xfe\x08x\n", b"\xffx\n"),
        (b"N\x08NA\x08A_\x08x\n", b"NAx\n"),
        (b"50%\r\x1b[J60%\x1b[0;1K\n", b"60%\n"),
        (b"\x1b[Kplain\x1b[K\r\n\x1b[2J\n", b"plain\n\n"),
    ],
)
def test_it_is_what_a_terminal_leaves(printed: bytes, shown: bytes) -> None:
    assert visible(printed) == shown


@given(
    st.lists(
        st.sampled_from(
            [
                b"\x1b",
                b"[",
                b"]",
                b"0",
                b";",
                b"m",
                b"\r",
                b"\n",
                b"x",
                b"\x07",
                b"\\",
                b"\x08",
                b"K",
                b"G",
                b"D",
                b"\t",
                b"\xd0",
            ]
        )
    )
)
def test_one_row_at_a_time_or_all_at_once(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert visible(data).count(b"\n") == data.count(b"\n")
    one_by_one = [styled(row, "")[0] for row in data.split(b"\n")]
    assert visible(data) == b"\n".join(one_by_one)


@pytest.mark.parametrize(
    ("style", "sequence", "after"),
    [
        ("", b"1;31", "1;31"),
        ("1;31", b"", ""),
        ("1;31", b"0;4", "4"),
        ("1;31", b"22", "31"),
        ("31", b"92", "92"),
        ("31", b"48;5;200", "31;48;5;200"),
        ("31", b"38;2;1;2;300", "38;2;1;2;255"),
        ("", b"38:2::9:8:7", "38;2;9;8;7"),
        ("", b"38:5:9;1", "1;38;5;9"),
        ("38;5;9;48;2;1;2;3", b"39", "48;2;1;2;3"),
        ("", b"4:3", "4"),
        ("4", b"4:0", ""),
        ("", b"58;5;3;31", "31"),
        ("", b"8;5;6", ""),
        ("31", b"38;5", "31"),
        ("31", b"38", "31"),
        ("31", b"99999999999999999999", "31"),
        ("7", b"27;3", "3"),
    ],
)
def test_styles_follow_each_other(style: str, sequence: bytes, after: str) -> None:
    assert restyle(style, sequence) == after
    assert restyle("", after.encode()) == after or after == ""
    assert style_after(b"x\x1b[" + sequence + b"my", style) == after


def test_a_row_has_its_styles_where_they_stand() -> None:
    text, runs, after = styled(b"a\x1b[31mbc\x1b[1md\x1b[0m e\x1b[32m\n", "4")
    assert text == b"abcd e" and after == "32"
    assert runs == [(0, 1, "4"), (1, 3, "4;31"), (3, 4, "1;4;31")]
    assert styled(b"\x1b[31mold\r\x1b[32mnew\n", "")[:2] == (b"new", [(0, 3, "32")])


def test_places_are_counted_in_characters() -> None:
    data = "é😀\x1b[31mпривет\x1b[0m ПРИВЕТ\n".encode()
    line = show(Row(1, 5, Stream.STDOUT, data, len(data), False, ""), Matcher(Query("привет")))
    assert line.text == "é😀привет ПРИВЕТ"
    assert line.styles == [(2, 8, "31")] and line.matches == [(2, 8), (9, 15)]
    broken = show(Row(1, 5, Stream.STDOUT, b"\xff\xfe ok\n", 6, False, ""), Matcher(Query("ok")))
    assert broken.text == "\ufffd\ufffd ok" and broken.matches == [(3, 5)]
    noise = show(Row(1, 5, Stream.STDOUT, b"\0\xff" * 300 + b"ok", 602, True, ""), Matcher(Query("ok")))
    assert set(noise.text[:-2]) == {"."} and noise.matches == [(600, 602)] and noise.open


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x1b]" * 100_000,
        b"\x1b[" * 100_000,
        b"\x1b[" + b"1;" * 100_000,
        b"\r" * 200_000,
        b"a\r" * 100_000,
        b"\x1b[500Gx\x1b[2K" * 15_000,
        b"\x1b[1K" * 40_000 + b"x",
        b"x" * 100_000 + b"\x1b[1K" * 20_000,
        "\u4e16\x08".encode() * 50_000,
        b"\t\x1b[D" * 50_000,
        ("a" + "\u0301" * 50_000 + "\x08").encode(),
        b"\x1b[99C" * 30_000 + b"x",
    ],
)
def test_no_output_takes_long(hostile: bytes) -> None:
    started = time.process_time()
    visible(hostile)
    styled(hostile[:8192], "")
    style_after(hostile, "")
    assert time.process_time() - started < 2
