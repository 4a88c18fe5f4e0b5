"""What the person watching sees: prefixed lines on stdout and stderr, and one progress line that moves."""

import os
import sys
import zlib
from collections.abc import Iterator
from shutil import get_terminal_size
from typing import IO

from testum.cli.failures import OUTPUT_CLOSED, WRONG_USE, Failure
from testum.cli.lines import harmless_name, shown

_COLOURS = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")
_CLEAR = "\r\x1b[K"


class OutputClosed(Failure):
    """What we print goes nowhere any more: whoever read it has gone (`| head`), or the disk is full."""

    def __init__(self, error: OSError) -> None:
        gone = isinstance(error, BrokenPipeError)
        super().__init__("" if gone else f"The output cannot be written: {error.strerror}.")
        self.status = OUTPUT_CLOSED if gone else WRONG_USE


class Screen:
    """Both output streams of the program. Where one is not a terminal, bytes pass through unchanged."""

    def __init__(self) -> None:
        self._streams: dict[str, IO[bytes]] = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
        self._terminal = {"stdout": sys.stdout.isatty(), "stderr": sys.stderr.isatty()}
        self._colour = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._width = 0
        self._progress_shown = False

    @property
    def progress_shown(self) -> bool:
        """Whether the progress line is there now."""
        return self._progress_shown

    @property
    def has_progress(self) -> bool:
        """Whether there is a terminal on stderr for a progress line to move on."""
        return self._terminal["stderr"]

    def widen(self, name: str) -> None:
        """Make room for `name` in the column of names."""
        self._width = max(self._width, len(harmless_name(name)))

    def line(self, name: str, stream: str, pieces: Iterator[bytes]) -> None:
        """One line of a host's output, after the host's name."""
        self._put(stream, self._prefix(name, stream).encode())
        self.raw(stream, pieces)

    def raw(self, stream: str, pieces: Iterator[bytes]) -> None:
        """Output without a prefix: as it is, or harmless if a terminal shows it."""
        if self._terminal[stream]:
            for text in shown(pieces):
                self._put(stream, text.encode("utf-8", "surrogatepass"))
        else:
            for piece in pieces:
                self._put(stream, piece)

    def say(self, text: str, stream: str = "stderr") -> None:
        """A line of our own."""
        self._put(stream, f"{text}\n".encode("utf-8", "replace"))
        self.flush()

    def heading(self, text: str) -> None:
        """A group's heading on stdout, framed as clush does."""
        rule = "-" * 15
        self.say(f"{rule}\n{self._bold(harmless_name(text))}\n{rule}", "stdout")

    def progress(self, text: str) -> None:
        """Show `text` on the progress line, which the next output takes away."""
        if not self._terminal["stderr"]:
            return
        columns = max(get_terminal_size().columns - 1, 20)
        self.clear()
        self._put("stderr", text[:columns].encode())
        self._progress_shown = True
        self.flush()

    def flush(self) -> None:
        """Let out what is buffered. Raises OutputClosed if nobody takes it any more."""
        try:
            for stream in self._streams.values():
                stream.flush()
        except OSError as error:
            raise OutputClosed(error) from None

    def clear(self) -> None:
        """Take the progress line away."""
        if self._progress_shown:
            self._progress_shown = False
            self._put("stderr", _CLEAR.encode())
            self.flush()

    def _prefix(self, name: str, stream: str) -> str:
        if not self._terminal[stream]:
            return f"{name}: "
        safe = harmless_name(name)
        padding = " " * (self._width - len(safe))
        if not self._colour:
            return f"{safe}: {padding}"
        colour = _COLOURS[zlib.crc32(name.encode()) % len(_COLOURS)]
        return f"\x1b[{colour}m{safe}:\x1b[0m {padding}"

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._terminal["stdout"] and self._colour else text

    def _put(self, stream: str, data: bytes) -> None:
        if self._progress_shown and self._terminal[stream]:
            self.clear()
        try:
            self._streams[stream].write(data)
        except OSError as error:
            raise OutputClosed(error) from None
