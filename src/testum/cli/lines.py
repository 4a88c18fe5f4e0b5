"""Output of many hosts at once: whole lines, harmless on a terminal, unchanged anywhere else."""

import codecs
import re
import tempfile
from collections.abc import Iterator

MEMORY_LIMIT = 256 * 1024
"""An unfinished line longer than this waits on disk."""

_PIECE = 1024 * 1024
# C0 but tab and newline, DEL, C1, and the marks that turn the direction of writing.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """The text with everything that a terminal would obey written out as an escape (`\\x1b`)."""
    return _HARMFUL.sub(lambda match: _escape(match[0]), text)


def harmless_name(text: str) -> str:
    """The same for a name or message that must stay on its line."""
    return harmless(text).replace("\n", "\\n").replace("\t", " ")


def _escape(character: str) -> str:
    if character == "\r":
        return "\\r"
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Spool:
    """Bytes put aside in an unnamed temporary file, so that memory does not grow with the output.

    `close` it when it is no longer needed; the file is gone then.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._end = 0

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()

    def put(self, data: bytes) -> tuple[int, int]:
        """Keep `data`; the answer gives it back."""
        place = self._end, len(data)
        self._file.seek(self._end)
        self._file.write(data)
        self._end += len(data)
        return place

    def get(self, place: tuple[int, int]) -> Iterator[bytes]:
        """What was put at `place`, piece by piece."""
        offset, left = place
        while left > 0:
            self._file.seek(offset)
            data = self._file.read(min(left, _PIECE))
            yield data
            offset += len(data)
            left -= len(data)


class LineKeeper:
    """Cuts one host's output into lines and holds back the one that is not finished."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._held = bytearray()
        self._places: list[tuple[int, int]] = []

    def feed(self, data: bytes) -> Iterator[Iterator[bytes]]:
        """The lines that `data` completes, each as its pieces in order, newline included.

        Each must be read to its end before the next is asked for.
        """
        cut = data.rfind(b"\n") + 1
        if cut:
            first = data.index(b"\n") + 1
            yield self._line(data[:first])
            for line in _split(data[first:cut]):
                yield iter((line,))
        self._held += data[cut:]
        if len(self._held) > MEMORY_LIMIT:
            self._places.append(self._spool.put(bytes(self._held)))
            self._held.clear()

    def finish(self) -> Iterator[Iterator[bytes]]:
        """The last line, if it was left without a newline; one is added."""
        if self._held or self._places:
            yield self._line(b"\n")

    def _line(self, end: bytes) -> Iterator[bytes]:
        places, held = self._places, bytes(self._held)
        self._places = []
        self._held.clear()
        for place in places:
            yield from self._spool.get(place)
        yield held + end


def _split(data: bytes) -> list[bytes]:
    """Lines at newlines only: `bytes.splitlines` would also cut at a carriage return."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]]


def shown(pieces: Iterator[bytes]) -> Iterator[str]:
    """One line's pieces as text that is safe on a terminal; a carriage return at the end is dropped."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    kept = ""
    for piece in pieces:
        text = kept + decoder.decode(piece)
        kept = ""
        if text.endswith("\r"):
            text, kept = text[:-1], "\r"
        yield harmless(re.sub("\r+\n", "\n", text))
    rest = kept + decoder.decode(b"", final=True)
    if rest:
        yield harmless(rest)
