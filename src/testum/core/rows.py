"""Rows: the lines of a task's output, numbered over both streams.

A row is a run of one stream's bytes up to its newline, or up to where the other stream breaks in, or to the end. It
is numbered from 1, and its time is the position of the frame that its first byte came in. `RowIndex` finds rows by
number within encoded frames (core/frames.py) after one linear pass; `RowReader` cuts rows out of frames.
"""

import datetime as dt
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from testum.core.frames import HEADER_SIZE, Frame, Headers, Stream
from testum.core.terminal import overwrites, style_after
from testum.errors import OutputDamaged

_NEWLINE = b"\n"
_LAST_OF_LENGTH = 11
"""Where in a header the length ends."""
SHOWN = 8 * 1024
"""A row longer than this many bytes is given cut."""
_STEP = 64 * 1024
_MOST_PLACES = 16 * 1024

Styles = dict[Stream, str]
"""How each stream's text is styled at some place (core/terminal.py), where it is not plain."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row begins: in the frame whose header is at `offset` of the encoded output, `inner` bytes into its
    data."""

    row: int
    offset: int
    inner: int
    styles: Styles


@dataclass(frozen=True, slots=True)
class Row:
    """A row. `data` is all of it, newline included, or SHOWN bytes of `length`: its end where that was written over
    and over, else its beginning. `open` says that nothing has ended it yet. `style` is what it begins with."""

    number: int
    position: int
    stream: Stream
    data: bytes
    length: int
    open: bool
    style: str


class RowIndex:
    """Where rows begin in encoded output: some of them exactly, the others a little behind one of those.

    What it takes is bounded: it gets coarser as the output grows. Not thread-safe: one feeds it at a time, and who
    reads it meanwhile sees rows that were complete at some moment (`rows` grows last).
    """

    def __init__(self, *, step: int = _STEP, most: int = _MOST_PLACES) -> None:
        self._step = step
        self._most = most
        self._places: tuple[array[int], array[int], array[int]] = (array("Q"), array("Q"), array("L"))
        self._styles: dict[int, Styles] = {}
        self._style: Styles = {}
        self._headers = Headers()
        self._stream = 0
        self._open = False
        self._next_place = 0
        self.rows = 0
        """How many rows have begun."""
        self.offset = 0
        """How many encoded bytes were taken."""
        self.payload = 0
        """How many bytes of output were taken."""

    @property
    def open(self) -> bool:
        """Whether the last row has no end yet."""
        return self._open

    @property
    def size(self) -> int:
        """Roughly the memory it takes, in bytes."""
        return sum(column.itemsize * len(column) for column in self._places) + 300 * len(self._styles) + 1000

    def feed(self, data: bytes) -> int:
        """Take the whole frames at the beginning of `data`, which are those at `offset`; how many bytes they were.
        Raises OutputDamaged where the bytes are not what was stored; what stands before that was taken."""
        start, rows = 0, self.rows
        try:
            while len(data) - start >= HEADER_SIZE:
                found = self._headers.frame_at(data, start)
                if found is None:
                    break
                _, stream, end = found
                first = start + HEADER_SIZE
                if end > first:
                    rows = self._take(data, first, end, stream, rows, self.offset + start)
                start = end
        finally:
            self.offset += start
            self.rows = rows
        return start

    def _take(self, data: bytes, first: int, end: int, stream: int, rows: int, offset: int) -> int:
        """Count the rows that begin in one frame's data."""
        if not self._open or stream != self._stream:
            rows += 1
            if self.payload >= self._next_place:
                self._add(rows, offset, 0)
        self._stream = stream
        styled = data.find(b"\x1b[", first, end) >= 0
        base, place = self.payload - first, first
        while (wanted := self._next_place - base) < end:
            newline = data.find(_NEWLINE, max(wanted, place), end)
            if newline < 0 or newline + 1 == end:
                break
            rows += data.count(_NEWLINE, place, newline + 1)
            if styled:
                self._restyle(stream, data[place : newline + 1])
            place = newline + 1
            self.payload = base + place
            self._add(rows, offset, place - first)
        rows += data.count(_NEWLINE, place, end)
        if styled:
            self._restyle(stream, data[place:end])
        self.payload = base + end
        self._open = data[end - 1] != 0x0A
        # The row after a newline at the very end has not begun.
        return rows if self._open else rows - 1

    def _restyle(self, stream: int, data: bytes) -> None:
        key = Stream(stream)
        self._style[key] = style_after(data, self._style.get(key, ""))

    def _add(self, row: int, offset: int, inner: int) -> None:
        rows, offsets, inners = self._places
        styles = {stream: style for stream, style in self._style.items() if style}
        if styles:
            self._styles[row] = styles
        rows.append(row)
        offsets.append(offset)
        inners.append(inner)
        self._next_place = self.payload + self._step
        if len(rows) > self._most:
            self._step *= 2
            # A new tuple at once: who reads meanwhile has the old columns or the new ones.
            self._places = (rows[::2], offsets[::2], inners[::2])
            kept = set(self._places[0])
            self._styles = {row: styles for row, styles in self._styles.items() if row in kept}

    def place(self, row: int) -> Place | None:
        """Where to begin reading for `row`; None while there is no row."""
        rows, offsets, inners = self._places
        found = bisect_right(rows, row, hi=min(len(rows), len(offsets), len(inners))) - 1
        if found < 0:
            return None
        return Place(rows[found], offsets[found], inners[found], self._styles.get(rows[found], {}))


class RowReader:
    """Cuts rows out of frames, from a place on. `number` is the row that is looked for: those before are passed
    over, which costs little. Of a row longer than `shown` bytes, only so many are given: those from `skip` on, if
    that is given, else those that are worth showing."""

    def __init__(self, place: Place, number: int, *, skip: int | None = None, shown: int = SHOWN) -> None:
        self._row = place.row
        self._inner = place.inner
        self._wanted = number
        self._skip = skip or 0
        self._ends = skip is None
        self._shown = shown
        self._styles = dict(place.styles)
        self._stream: Stream | None = None
        self._position = 0
        self._begun = False
        self._head = bytearray()
        self._tail = bytearray()
        self._length = 0
        self._style = ""

    def feed(self, frame: Frame) -> Iterator[Row]:
        """The rows from the one looked for on that end with this frame, or before it."""
        data, self._inner = frame.data[self._inner :], 0
        if not data:
            return
        if self._begun and frame.stream is not self._stream:
            yield from self._end(open=False)
        place = 0
        if self._row < self._wanted:
            place = self._pass_over(frame, data)
        while place < len(data):
            if not self._begun:
                self._begin(frame)
            newline = data.find(_NEWLINE, place)
            end = len(data) if newline < 0 else newline + 1
            self._keep(data[place:end])
            place = end
            if newline >= 0:
                yield from self._end(open=False)

    @property
    def piece(self) -> Row | None:
        """The row looked for, not read to its end, once all that is wanted of it is there."""
        if not self._begun or self._row != self._wanted or len(self._head) < self._shown:
            return None
        assert self._stream is not None
        head = bytes(self._head)
        return Row(self._row, self._position, self._stream, head, self._length, True, self._style)

    def _pass_over(self, frame: Frame, data: bytes) -> int:
        """Go over rows that are not wanted; where the first that is begins."""
        if not self._begun:
            self._begin(frame)
        missing = self._wanted - self._row
        place = len(data)
        if missing <= data.count(_NEWLINE):
            place = 0
            for _ in range(missing):
                place = data.index(_NEWLINE, place) + 1
            self._row, self._begun = self._wanted, False
        else:
            newlines = data.count(_NEWLINE)
            self._row += newlines
            self._begun = not data.endswith(_NEWLINE)
        if b"\x1b[" in data:
            self._styles[frame.stream] = style_after(data[:place], self._styles.get(frame.stream, ""))
        return place

    def _begin(self, frame: Frame) -> None:
        self._begun = True
        self._stream, self._position = frame.stream, frame.position
        self._style = self._styles.get(frame.stream, "")
        self._head.clear()
        self._tail.clear()
        self._length = 0

    def _keep(self, data: bytes) -> None:
        assert self._stream is not None
        if len(self._head) < self._shown and self._length + len(data) > self._skip:
            first = max(self._skip - self._length, 0)
            self._head += data[first : first + self._shown - len(self._head)]
        self._length += len(data)
        if self._ends and self._length > self._shown:
            self._tail = (self._tail + data[-self._shown :])[-self._shown :]
        if b"\x1b[" in data:
            self._styles[self._stream] = style_after(data, self._styles.get(self._stream, ""))

    def _end(self, *, open: bool) -> Iterator[Row]:
        assert self._stream is not None
        self._begun = False
        self._row += 1
        if self._row <= self._wanted:
            return
        data = bytes(self._head)
        if self._tail and overwrites(bytes(self._tail)):
            data = bytes(self._tail)
        yield Row(self._row - 1, self._position, self._stream, data, self._length, open, self._style)

    def rest(self, *, ended: bool) -> Iterator[Row]:
        """The last row, where it has no newline. `ended`: nothing more will come."""
        if self._begun:
            yield from self._end(open=not ended)


def stamped(frame: Frame, before: Frame | None) -> bytes:
    """A frame's bytes with the time (ISO 8601, UTC) before each line that begins in it; `before` is the frame
    before it. A line that the other stream broke into goes on in a new line, with the time of that."""
    moment = dt.datetime.fromtimestamp(frame.position / 1_000_000, dt.UTC)
    stamp = moment.isoformat(timespec="microseconds").encode() + b" "
    newlines = frame.data.count(_NEWLINE) - frame.data.endswith(_NEWLINE)
    data = frame.data.replace(_NEWLINE, _NEWLINE + stamp, newlines)
    if before is None or before.data.endswith(_NEWLINE):
        return stamp + data
    return data if before.stream is frame.stream else _NEWLINE + stamp + data


def resynchronize(data: bytes, earliest: int, latest: int) -> int | None:
    """Where the first whole frame begins in `data`, which ends where a frame ends, but may begin anywhere; None
    where no such place is found.

    A place counts from which headers with rising positions between `earliest` and `latest` lead to the very end. A
    host that knows this can make its own bytes look like headers, and thereby lie about the time and stream of its
    own last rows: good enough for a first look, until the index is complete.
    """
    # No frame is so long that the last byte of its length is another than zero; the stream follows.
    place = -1
    for before in (b"\0\1", b"\0\2"):
        found = data.find(before, _LAST_OF_LENGTH)
        while found >= 0 and (place < 0 or found - _LAST_OF_LENGTH < place):
            if _leads_to_the_end(data, found - _LAST_OF_LENGTH, earliest, latest):
                place = found - _LAST_OF_LENGTH
                break
            found = data.find(before, found + 1)
    return place if place >= 0 else None


def _leads_to_the_end(data: bytes, place: int, earliest: int, latest: int) -> bool:
    headers = Headers()
    while len(data) - place >= HEADER_SIZE:
        try:
            found = headers.frame_at(data, place)
        except OutputDamaged:
            return False
        if found is None:
            return False
        position, _, end = found
        if not earliest <= position <= latest or end == place + HEADER_SIZE:
            return False
        earliest, place = position, end
    return place == len(data)
