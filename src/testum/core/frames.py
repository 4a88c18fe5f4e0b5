"""Output frames: the unit in which a task's output is stored, numbered and shown.

Stored form: a 16-byte header (position u64, length u32, stream u8, checksum u24; little endian), then the bytes as
they came. A frame's number within its task is its place in the sequence, first 1.

The checksum is the low 24 bits of the CRC-32 (zlib's) of the header up to it and the bytes, and 1 where these are 0.
A checksum of 0 stands in frames of releases that made none; behind a frame that has one, all have one. Those releases
take no notice of it, so that they read what this one stores.
"""

import codecs
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from testum.errors import OutputDamaged

_HEADER = struct.Struct("<QII")
_CHECKED = struct.Struct("<QIB")
_CHECKSUM = 0xFFFFFF
HEADER_SIZE = _HEADER.size
MAX_FRAME = 256 * 1024
"""The most data bytes in one frame."""


class Stream(IntEnum):
    """Which of the command's two streams the bytes came from, by their POSIX file descriptor."""

    STDOUT = 1
    STDERR = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """Some bytes of one stream. `position` orders frames within a job and is their time stamp (µs)."""

    position: int
    stream: Stream
    data: bytes


Piece = tuple[Stream, bytes]
"""Output that has no position yet: what becomes a frame when it is stored."""


def damaged() -> OutputDamaged:
    """What to say of output of which some is not what was stored."""
    return OutputDamaged(
        "The task's stored output is damaged from here on: its file or object is not what was written."
    )


def unreadable(reason: str) -> OutputDamaged:
    """What to say of output that is there and cannot be read."""
    return OutputDamaged(f"The task's stored output cannot be read from here on: {reason}.")


def missing() -> OutputDamaged:
    """What to say of output that should be there and is not."""
    return OutputDamaged(
        "The task's stored output is missing: its file or object is gone from where it was kept.",
        code="output_missing",
    )


def _sum(position: int, stream: int, data: bytes | bytearray) -> int:
    return zlib.crc32(data, zlib.crc32(_CHECKED.pack(position, len(data), stream))) & _CHECKSUM or 1


def encode(frame: Frame) -> bytes:
    """The stored form of a frame."""
    return _encode(frame.position, frame.stream, frame.data)


def _encode(position: int, stream: Stream, data: bytes) -> bytes:
    return _HEADER.pack(position, len(data), _sum(position, stream, data) << 8 | stream) + data


def encode_row(pieces: Sequence[Piece], last: int) -> bytes:
    """The stored form of pieces that get positions in a row, up to `last`."""
    first = last - len(pieces) + 1
    return b"".join(
        _encode(position, stream, data) for position, (stream, data) in enumerate(pieces, start=first)
    )


def encoded_size(pieces: Sequence[Piece]) -> int:
    """How many bytes the pieces take in their stored form."""
    return sum(HEADER_SIZE + len(data) for _, data in pieces)


class Headers:
    """Reads the headers of frames that follow each other, and checks them and what is behind them."""

    def __init__(self) -> None:
        self._has_sums = False

    def frame_at(self, data: bytes | bytearray, start: int) -> tuple[int, int, int] | None:
        """Position, stream and end of the frame whose header is at `start`; None where it is not whole yet. Raises
        OutputDamaged."""
        position, length, word = _HEADER.unpack_from(data, start)
        stream, checksum = word & 0xFF, word >> 8
        if length > MAX_FRAME or stream not in (Stream.STDOUT, Stream.STDERR):
            raise damaged()
        first = start + HEADER_SIZE
        end = first + length
        if end > len(data):
            return None
        if checksum or self._has_sums:
            if _sum(position, stream, data[first:end]) != checksum:
                raise damaged()
            self._has_sums = True
        return position, stream, end


class FrameDecoder:
    """Cuts stored bytes, fed in pieces of any size, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._headers = Headers()

    @property
    def pending(self) -> int:
        """Bytes fed that do not make a whole frame yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with `data`. Raises OutputDamaged where the bytes are not what was stored."""
        self._buffer += data
        offset = 0
        try:
            while len(self._buffer) - offset >= HEADER_SIZE:
                found = self._headers.frame_at(self._buffer, offset)
                if found is None:
                    break
                position, stream, end = found
                yield Frame(position, Stream(stream), bytes(self._buffer[offset + HEADER_SIZE : end]))
                offset = end
        finally:
            del self._buffer[:offset]


def decode_all(data: bytes) -> list[Frame]:
    """All whole frames in `data`; a torn last one is left out."""
    return list(FrameDecoder().feed(data))


def incomplete_utf8_tail(data: bytes) -> int:
    """How many bytes (0 to 3) at the end of `data` begin a UTF-8 character that is not whole yet.

    Frames are cut before such a beginning, so that each frame can be decoded by itself (RFC 3629,
    section 3: the first byte tells the length).
    """
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return back if byte < 0xF5 and needed > back else 0
    return 0


_PRINTABLE = bytes(byte if byte in b"\t\n\r" or 0x20 <= byte < 0x7F else 0x2E for byte in range(256))
"""Makes a full stop of every byte that is not printable ASCII, as hexdump and its like show them."""
_SAMPLE = 4096


def decode_text(data: bytes) -> tuple[str, bool]:
    """The bytes as text, and whether that text is exact (False: U+FFFD stands for what is not UTF-8).

    What is plainly no text at all (a picture, an archive, a row of NULs) is shown as its printable ASCII
    and full stops: character by character it would take most of a server's time, and be read no better.
    """
    sample = data[:_SAMPLE]
    text = codecs.decode(sample, "utf-8", "replace")
    if 10 * (text.count("\ufffd") + text.count("\0")) > len(sample) >= 256:
        return data.translate(_PRINTABLE).decode("ascii"), False
    try:
        return data.decode("utf-8"), True
    except UnicodeDecodeError:
        return codecs.decode(data, "utf-8", "replace"), False
