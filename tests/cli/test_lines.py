"""Whole lines out of any pieces, and nothing that a terminal obeys."""

from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from testum.cli import lines
from testum.cli.lines import LineKeeper, Spool, harmless, harmless_name, shown


def cut(pieces: list[bytes]) -> list[bytes]:
    with closing(Spool()) as spool:
        keeper = LineKeeper(spool)
        found = [b"".join(line) for piece in pieces for line in keeper.feed(piece)]
        return found + [b"".join(line) for line in keeper.finish()]


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\n", b"\r\n", b"a\nb"]), max_size=20))
def test_lines_add_up_whatever_the_pieces(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    expected = [line + b"\n" for line in whole.split(b"\n")]
    assert cut(pieces) == (expected[:-1] if whole.endswith(b"\n") or not whole else expected)


def test_a_long_line_waits_on_disk() -> None:
    piece = bytes(range(11, 256)) * 1000
    with closing(Spool()) as spool:
        keeper = LineKeeper(spool)
        for _ in range(10):
            assert list(keeper.feed(piece)) == []
            assert len(keeper._held) <= lines.MEMORY_LIMIT
        assert [b"".join(line) for line in keeper.feed(b"\n")] == [piece * 10 + b"\n"]


@given(st.text())
def test_harmless_text_holds_no_controls(text: str) -> None:
    safe = harmless(text)
    assert not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in safe)
    assert "\n" not in harmless_name(text)


@given(st.binary(max_size=60), st.integers(1, 7))
def test_shown_is_the_same_in_any_pieces(data: bytes, size: int) -> None:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert "".join(shown(iter(pieces))) == "".join(shown(iter([data])))


def test_shown_drops_a_carriage_return_only_at_the_end_of_a_line() -> None:
    assert "".join(shown(iter([b"a\rb\r", b"\nc\xd0", b"\xb6\r\n"]))) == "a\\rb\nc\u0436\n"
