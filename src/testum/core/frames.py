"""Output frames: the unit in which a task's output is stored, numbered and shown.

Stored form: a 16-byte header (position u64, length u32, stream u8, three zero bytes; little endian),
then the bytes as they came. A frame's number within its task is its place in the sequence, first 1.
"""

import codecs
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

_HEADER = struct.Struct("<QIB3x")
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


def encode(frame: Frame) -> bytes:
    """The stored form of a frame."""
    return _HEADER.pack(frame.position, len(frame.data), frame.stream) + frame.data


def encode_row(pieces: Sequence[Piece], last: int) -> bytes:
    """The stored form of pieces that get positions in a row, up to `last`."""
    first = last - len(pieces) + 1
    return b"".join(
        _HEADER.pack(position, len(data), stream) + data
        for position, (stream, data) in enumerate(pieces, start=first)
    )


def encoded_size(pieces: Sequence[Piece]) -> int:
    """How many bytes the pieces take in their stored form."""
    return sum(HEADER_SIZE + len(data) for _, data in pieces)


class FrameDecoder:
    """Cuts stored bytes, fed in pieces of any size, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes fed that do not make a whole frame yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with `data`. Raises ValueError where the bytes are no frames."""
        self._buffer += data
        offset = 0
        try:
            while len(self._buffer) - offset >= HEADER_SIZE:
                position, length, stream = _HEADER.unpack_from(self._buffer, offset)
                if length > MAX_FRAME:
                    raise ValueError(
                        f"a frame of {length} bytes is over the limit: the output file is damaged"
                    )
                end = offset + HEADER_SIZE + length
                if len(self._buffer) < end:
                    break
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
