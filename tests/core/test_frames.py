"""Frames: what is encoded is decoded, however it is cut; text is never cut within a character."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testum.core.frames import (
    MAX_FRAME,
    Frame,
    FrameDecoder,
    Stream,
    decode_all,
    decode_text,
    encode,
    incomplete_utf8_tail,
)
from testum.errors import OutputDamaged

_frames = st.lists(
    st.builds(Frame, st.integers(0, 2**63), st.sampled_from(Stream), st.binary(max_size=200)), max_size=8
)


@given(_frames, st.lists(st.integers(1, 50), min_size=1))
def test_frames_survive_storage_in_pieces_of_any_size(frames: list[Frame], sizes: list[int]) -> None:
    stored = b"".join(map(encode, frames))
    decoder = FrameDecoder()
    got = []
    place, turn = 0, 0
    while place < len(stored):
        size = sizes[turn % len(sizes)]
        got += decoder.feed(stored[place : place + size])
        place, turn = place + size, turn + 1
    assert got == frames
    assert decoder.pending == 0


def test_a_torn_last_frame_is_left_out() -> None:
    whole = Frame(1, Stream.STDOUT, b"whole")
    stored = encode(whole) + encode(Frame(2, Stream.STDERR, b"torn"))[:-1]
    assert decode_all(stored) == [whole]


def test_bytes_that_are_no_frames_are_an_error() -> None:
    with pytest.raises(OutputDamaged):
        decode_all(b"\xff" * 64)
    assert MAX_FRAME < 2**32 - 1


@given(st.text(), st.integers(0, 400))
def test_text_cut_before_an_incomplete_character_decodes_exactly(text: str, place: int) -> None:
    data = text.encode("utf-8", "replace")
    piece = data[:place]
    tail = incomplete_utf8_tail(piece)
    head = piece[: len(piece) - tail]
    assert tail <= 3
    assert decode_text(head) == (head.decode("utf-8"), True)


@given(st.binary(max_size=50))
def test_any_bytes_have_a_text_and_say_whether_it_is_exact(data: bytes) -> None:
    text, exact = decode_text(data)
    assert (text.encode() == data) is exact or not exact
    if exact:
        assert text.encode() == data


@pytest.mark.parametrize(
    ("data", "tail"),
    [
        (b"", 0),
        (b"a", 0),
        (b"\xc3", 1),
        (b"\xe2\x82", 2),
        (b"\xf0\x9f\x92", 3),
        (b"\xf0\x9f\x92\xa9", 0),
        (b"\x80\x80\x80\x80", 0),
        (b"\xff", 0),
    ],
)
def test_incomplete_tails(data: bytes, tail: int) -> None:
    assert incomplete_utf8_tail(data) == tail


def test_what_is_no_text_is_shown_as_its_printable_ascii() -> None:
    assert decode_text(b"\0" * 1000 + b"end\n") == ("." * 1000 + "end\n", False)
    mostly = "ж".encode() * 3000
    assert decode_text(mostly + b"\xff") == ("ж" * 3000 + "\ufffd", False)
    assert decode_text(b"a\0b" + mostly) == ("a\0b" + "ж" * 3000, True)


@given(_frames.filter(bool), st.data())
def test_a_changed_byte_is_told_and_what_stands_before_it_is_read(
    frames: list[Frame], data: st.DataObject
) -> None:
    stored = bytearray(b"".join(map(encode, frames)))
    place = data.draw(st.integers(0, len(stored) - 1))
    stored[place] ^= data.draw(st.integers(1, 255))
    got: list[Frame] = []
    decoder = FrameDecoder()
    try:
        got.extend(decoder.feed(bytes(stored)))
    except OutputDamaged as error:
        assert error.code == "output_damaged"
    else:
        assert decoder.pending, "a longer frame than there is"
    assert got == frames[: len(got)]


def test_frames_without_checksums_are_read() -> None:
    """Releases before there were any stored zeros in their place."""
    frames = [Frame(number, Stream.STDERR, b"x" * number) for number in range(9)]
    old = b"".join(
        struct.pack("<QIB3x", one.position, len(one.data), one.stream) + one.data for one in frames
    )
    assert decode_all(old) == frames
    assert decode_all(old + encode(frames[0])) == [*frames, frames[0]]
    with pytest.raises(OutputDamaged):
        decode_all(encode(frames[0]) + old)
