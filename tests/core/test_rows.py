"""Rows by number: the index and the reader against a plain count, over any cut of any output into frames."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from testum.core.frames import Frame, FrameDecoder, Stream, decode_all, encode
from testum.core.rows import SHOWN, Place, Row, RowIndex, RowReader, resynchronize, stamped

PIECES = st.lists(
    st.tuples(
        st.sampled_from(list(Stream)),
        st.lists(
            st.sampled_from([b"a", b"bc", b"\n", b"\n\n", b"x\ny", b"\x1b[31m", b"\x1b[0m", "é".encode()]),
            min_size=1,
            max_size=12,
        ).map(b"".join),
    ),
    max_size=12,
)


def frames_of(pieces: list[tuple[Stream, bytes]]) -> list[Frame]:
    return [Frame(1000 + number, stream, data) for number, (stream, data) in enumerate(pieces)]


def plainly(frames: list[Frame]) -> list[tuple[int, int, Stream, bytes]]:
    """The rows by the definition, byte by byte."""
    rows: list[tuple[int, int, Stream, bytes]] = []
    for frame in frames:
        for byte in frame.data:
            if not rows or rows[-1][2] is not frame.stream or rows[-1][3].endswith(b"\n"):
                rows.append((len(rows) + 1, frame.position, frame.stream, b""))
            number, position, stream, data = rows[-1]
            rows[-1] = (number, position, stream, data + bytes([byte]))
    return rows


def index_of(encoded: bytes, **options: int) -> RowIndex:
    index = RowIndex(**options)
    while index.feed(encoded[index.offset : index.offset + 100]):
        pass
    return index


def read(encoded: bytes, place: Place, number: int, *, ended: bool = True, **options: int) -> Iterator[Row]:
    reader = RowReader(place, number, **options)
    for frame in FrameDecoder().feed(encoded[place.offset :]):
        yield from reader.feed(frame)
    yield from reader.rest(ended=ended)


@given(PIECES, st.integers(1, 40), st.integers(2, 6))
def test_any_row_is_found_by_its_number(pieces: list[tuple[Stream, bytes]], step: int, most: int) -> None:
    frames = frames_of(pieces)
    encoded = b"".join(encode(frame) for frame in frames)
    expected = plainly(frames)
    index = index_of(encoded, step=step, most=most)
    assert index.rows == len(expected) and index.offset == len(encoded)
    assert index.payload == sum(len(frame.data) for frame in frames)
    whole = [row.style for row in read(encoded, Place(1, 0, 0, {}), 1)]
    for number in range(1, len(expected) + 1):
        place = index.place(number)
        assert place is not None and place.row <= number
        rows = list(read(encoded, place, number))
        assert [(row.number, row.position, row.stream, row.data) for row in rows] == expected[number - 1 :]
        assert [row.style for row in rows] == whole[number - 1 :], "styles go on as from the beginning"
        assert all(row.length == len(row.data) and not row.open for row in rows)


def test_the_last_row_is_open_until_the_end() -> None:
    encoded = encode(Frame(1, Stream.STDOUT, b"a\nb"))
    assert [row.open for row in read(encoded, Place(1, 0, 0, {}), 1, ended=False)] == [False, True]
    index = index_of(encoded)
    assert (index.rows, index.open) == (2, True)
    index.feed(encode(Frame(2, Stream.STDOUT, b"c\n")))
    assert (index.rows, index.open) == (2, False)


def test_an_index_waits_for_the_rest_of_a_frame() -> None:
    encoded = encode(Frame(1, Stream.STDOUT, b"a\nb\n"))
    index = RowIndex()
    for end in range(len(encoded)):
        assert index.feed(encoded[:end]) == 0
    assert index.rows == 0 and index.place(1) is None
    assert index.feed(encoded + encoded[:19]) == len(encoded) and index.rows == 2


def test_an_index_does_not_grow_with_the_output() -> None:
    index = RowIndex(step=1, most=64)
    for position in range(5000):
        index.feed(encode(Frame(position, Stream.STDOUT, b"one\ntwo\n")))
    assert index.rows == 10_000 and index.size < 64 * 24 + 2000
    place = index.place(9_999)
    assert place is not None and 9_999 - place.row < 400


def test_a_long_row_is_cut_and_read_in_pieces() -> None:
    long = bytes(range(65, 91)) * 2000
    parts = [b"before\n" + long[:20_000], long[20_000:40_000], long[40_000:] + b"\nafter\n"]
    encoded = b"".join(encode(frame) for frame in frames_of([(Stream.STDOUT, part) for part in parts]))
    rows = list(read(encoded, Place(1, 0, 0, {}), 1))
    assert [row.length for row in rows] == [7, len(long) + 1, 6]
    assert rows[1].data == long[:SHOWN]
    whole = long + b"\n"
    for offset in (0, 5, 19_990, len(long) - 3, len(whole), len(whole) + 9):
        (piece, *_) = read(encoded, Place(1, 0, 0, {}), 2, skip=offset, shown=100)
        assert piece.data == whole[offset : offset + 100]


def test_of_a_progress_bar_the_end_is_shown() -> None:
    bar = b"".join(b"\r%3d %%" % (number % 100) for number in range(5000))
    (row,) = read(encode(Frame(1, Stream.STDERR, bar + b"\rdone\n")), Place(1, 0, 0, {}), 1)
    assert row.length == len(bar) + 6 and row.data.endswith(b"\rdone\n") and len(row.data) == SHOWN


@given(PIECES.filter(bool), st.integers(0, 400))
def test_frames_are_found_from_the_end(pieces: list[tuple[Stream, bytes]], cut: int) -> None:
    frames = frames_of(pieces)
    encoded = b"".join(encode(frame) for frame in frames)
    rest = encoded[cut:]
    start = resynchronize(rest, 1000, 2000)
    begins, place = [], 0
    for frame in frames:
        begins.append(place)
        place += len(encode(frame))
    expected = next((begin - cut for begin in begins if begin >= cut), None)
    assert start == expected
    if start is not None:
        assert decode_all(rest[start:]) == frames[begins.index(start + cut) :]


@given(PIECES)
def test_stamps_stand_before_every_line(pieces: list[tuple[Stream, bytes]]) -> None:
    frames = frames_of(pieces)
    before: Frame | None = None
    written = b""
    for frame in frames:
        written += stamped(frame, before)
        before = frame
    expected = b""
    for _, position, _, data in plainly(frames):
        expected += b"1970-01-01T00:00:00.%06d+00:00 " % position + data.removesuffix(b"\n") + b"\n"
    assert written.removesuffix(b"\n") == expected.removesuffix(b"\n")
