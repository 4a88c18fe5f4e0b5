"""What a terminal would have shown of some output: its text without control sequences, and how that text is styled.

Sequences are those of ECMA-48 (5th edition, section 5.4 and 8.3.117 SGR) and of xterm's operating system commands.
Styles have an effect, and what moves the cursor within the row or erases there: it is written over as a terminal does it.
Everything else that is a whole sequence is left out; what is none, a lone escape say, stays in the text for whoever shows it
to make visible.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

_SEQUENCE = re.compile(
    rb"\x1b(?:"
    rb"\[[0-?]*+[ -/]*+[@-~]"  # control sequences: CSI
    rb"|[\]PX^_][^\x07\x1b\n]*+(?:\x07|\x1b\\)"  # strings: OSC, DCS, SOS, PM, APC
    rb"|[ -/]++[0-~]"  # such as the choice of a character set
    rb"|[0-OQ-WYZ\\`-~]"  # the rest of the two-byte ones
    rb")"
)
_SGR = re.compile(rb"\x1b\[([0-9;:]*)m")
_RETURNS = re.compile(rb"\r+(?=\n|\Z)")
# What goes back in a row or takes away from it (ECMA-48: BS, CR, EL, ED, CHA, CUB; CUF goes on). A carriage return before the
# newline is none.
_EDIT = re.compile(rb"\x08|(?<!\r)\r++(?!\n|\Z)|\x1b\[([0-9]*+)(?:;[0-9;]*+)?([JKGDC])")
_PIECE = re.compile(rb"[\r\x08]|" + _SEQUENCE.pattern)
_COLUMNS = 500
"""A cursor is not sent farther than this behind what is written."""
_MOST_BLANKED = 1 << 20
"""Cells that are made blank in one row, before erasing to its beginning has no effect any more."""

_FLAGS = {1: "1", 2: "2", 3: "3", 4: "4", 7: "7", 9: "9", 21: "4"}
"""Bold, faint, italic, underlined (once or twice), inverse, struck out. Concealed and blinking text is shown as any
other: output must not be able to hide itself."""
_CLEARS = {22: (1, 2), 23: (3,), 24: (4,), 27: (7,), 29: (9,), 39: (38,), 49: (48,)}
_COLOURS = (38, 48, 58)


def visible(data: bytes) -> bytes:
    """The bytes of some rows as a terminal would leave them: without control sequences, overwritten where they went back.

    It has as many newlines as `data`.
    """
    if overwrites(data):
        return b"\n".join(
            _edited(row, "").text if overwrites(row) else _plain(row) for row in data.split(b"\n")
        )
    return _plain(data)


def _plain(data: bytes) -> bytes:
    """`visible` of rows that do not go back."""
    if b"\x1b" in data:
        data = _SEQUENCE.sub(b"", data)
    return _RETURNS.sub(b"", data) if b"\r" in data else data


def overwrites(data: bytes) -> bool:
    """Whether the row has text that was written over or taken away, as progress bars do."""
    # Most has none of these bytes, which is told many times quicker.
    may = b"\r" in data or b"\x08" in data or b"\x1b[" in data
    return may and _EDIT.search(data) is not None


def styled(row: bytes, style: str) -> tuple[bytes, list[tuple[int, int, str]], str]:
    """`visible` of one row, the styles of its parts as (start, end, style) in bytes of that, and the style after it.

    A style is the parameters of the one SGR sequence that would set it, such as `1;31` or `38;5;208`; empty for
    plain text. `style` is the one that the row begins with.
    """
    if overwrites(row):
        edited = _edited(row, style)
        return edited.text, edited.runs(), edited.style
    text = bytearray()
    runs: list[tuple[int, int, str]] = []
    begun = 0
    for piece, following in _pieces(row, style):
        text += piece
        if following is not None and following != style:
            if style and len(text) > begun:
                runs.append((begun, len(text), style))
            begun, style = len(text), following
    if style and len(text) > begun:
        runs.append((begun, len(text), style))
    whole = bytes(text).rstrip(b"\r\n")
    kept = [(start, min(end, len(whole)), sgr) for start, end, sgr in runs if start < len(whole)]
    return whole, kept, style


class _Edited:
    """A row's cells, as a terminal has them: each holds a character with what combines with it; one that is wider leaves the
    cells behind it empty."""

    def __init__(self, style: str) -> None:
        self.style = style
        self._cells: list[str] = []
        self._styles: list[str] = []
        self._column = 0
        self._wide = False
        self._blanked = 0

    def write(self, piece: bytes) -> None:
        """Text, from the cursor on."""
        text = piece.decode("utf-8", "surrogateescape")
        if self._column > len(self._cells):
            missing = self._column - len(self._cells)
            self._cells += " " * missing
            self._styles += [""] * missing
        if text.isascii() and not self._wide and "\t" not in text:
            end = self._column + len(text)
            self._cells[self._column : end] = text
            self._styles[self._column : end] = [self.style] * len(text)
            self._column = end
            return
        for character in text:
            self._put(character, self._width(character))

    def _width(self, character: str) -> int:
        if character == "\t":
            return 8 - self._column % 8
        if unicodedata.category(character) in ("Mn", "Me", "Cf"):
            return 0
        return 2 if unicodedata.east_asian_width(character) in "WF" else 1

    def _put(self, character: str, width: int) -> None:
        if not width:
            if self._column and self._column <= len(self._cells):
                self._cells[self._column - 1] += character
            return
        end = self._column + width
        if character == "\t" and self._column < len(self._cells):
            # It only moves the cursor.
            missing = max(end - len(self._cells), 0)
            self._cells += " " * missing
            self._styles += [self.style] * missing
        else:
            self._split(self._column)
            self._split(end)
            self._wide = self._wide or width > 1
            self._cells[self._column : end] = [character, *[""] * (width - 1)]
            self._styles[self._column : end] = [self.style] * width
        self._column = end

    def _split(self, column: int) -> None:
        """What is wider and stands on both sides of a cell's left edge becomes blanks."""
        if not self._wide or column >= len(self._cells) or self._cells[column]:
            return
        start, end = column, column
        while start and not self._cells[start]:
            start -= 1
        while end < len(self._cells) and not self._cells[end]:
            end += 1
        self._cells[start:end] = " " * (end - start)

    def edit(self, control: bytes) -> None:
        """Do what a control does to the row, if anything."""
        if control == b"\x08":
            self._column = max(self._column - 1, 0)
        elif control == b"\r":
            self._column = 0
        elif (sgr := _SGR.fullmatch(control)) is not None:
            self.style = restyle(self.style, sgr[1])
        elif (known := _EDIT.fullmatch(control)) is not None:
            number = _number(known[1].decode())
            if known[2] in b"JK":
                # To clear the screen takes nothing away here: what a host has printed is to be seen.
                if known[2] == b"K" or number == 0:
                    self._erase(number)
                return
            farthest = max(len(self._cells), _COLUMNS)
            steps = farthest if number < 0 else max(number, 1)
            targets = {b"G": steps - 1, b"D": self._column - steps, b"C": self._column + steps}
            self._column = min(max(targets[known[2]], 0), max(farthest, self._column))

    def _erase(self, which: int) -> None:
        """To the end, from the beginning, or all of it; the cursor stays."""
        if which == 0:
            self._split(self._column)
            del self._cells[self._column :], self._styles[self._column :]
        elif which == 1:
            end = min(self._column + 1, len(self._cells))
            self._blanked += end
            if self._blanked <= _MOST_BLANKED:
                self._split(end)
                self._cells[:end] = " " * end
                self._styles[:end] = [""] * end
        elif which == 2:
            self._cells.clear()
            self._styles.clear()

    @property
    def text(self) -> bytes:
        """What is left."""
        return "".join(self._cells).encode("utf-8", "surrogateescape")

    def runs(self) -> list[tuple[int, int, str]]:
        """How that is styled, as `styled` gives it."""
        found: list[tuple[int, int, str]] = []
        place = 0
        for style, cells in groupby(zip(self._styles, self._cells, strict=True), key=itemgetter(0)):
            length = len("".join(cell for _, cell in cells).encode("utf-8", "surrogateescape"))
            if style and length:
                found.append((place, place + length, style))
            place += length
        return found


def _edited(row: bytes, style: str) -> _Edited:
    edited = _Edited(style)
    row = row.rstrip(b"\r\n")
    place = 0
    for control in _PIECE.finditer(row):
        if control.start() > place:
            edited.write(row[place : control.start()])
        edited.edit(control[0])
        place = control.end()
    edited.write(row[place:])
    return edited


def _pieces(row: bytes, style: str) -> Iterator[tuple[bytes, str | None]]:
    """The text between sequences, each with the style after it where that may have changed."""
    place = 0
    for sequence in _SEQUENCE.finditer(row):
        piece = row[place : sequence.start()]
        place = sequence.end()
        sgr = _SGR.fullmatch(sequence[0])
        if sgr is not None:
            style = restyle(style, sgr[1])
        yield piece, style
    yield row[place:], None


def style_after(data: bytes, style: str) -> str:
    """The style at the end of `data`, which begins with `style`."""
    if b"\x1b[" not in data:
        return style
    start = data.rfind(b"\x1b[0m")
    start = max(start, data.rfind(b"\x1b[m"))
    if start >= 0:
        style = ""
    for sgr in _SGR.finditer(data, max(start, 0)):
        style = restyle(style, sgr[1])
    return style


@lru_cache(maxsize=4096)
def restyle(style: str, parameters: bytes) -> str:
    """The style that an SGR sequence with these parameters leads to."""
    held = dict(_parse(style)) if style else {}
    for slot, value in _parse(parameters.decode("ascii")):
        if slot == 0:
            held.clear()
        elif value:
            held[slot] = value
        else:
            held.pop(slot, None)
    return ";".join(held[slot] for slot in sorted(held))


def _parse(parameters: str) -> Iterator[tuple[int, str]]:
    """What parameters set: (slot, its parameters); (0, "") clears all, (slot, "") that slot."""
    words = parameters.split(";")
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if ":" in word:
            yield from _with_parts([_number(part) for part in word.split(":")])
            continue
        code = _number(word)
        if code == 0:
            yield 0, ""
        elif code in _FLAGS:
            yield int(_FLAGS[code]), _FLAGS[code]
        elif code in _CLEARS:
            yield from ((slot, "") for slot in _CLEARS[code])
        elif 30 <= code <= 37 or 90 <= code <= 97:
            yield 38, str(code)
        elif 40 <= code <= 47 or 100 <= code <= 107:
            yield 48, str(code)
        elif code in _COLOURS and place < len(words):
            kind = _number(words[place])
            width = {5: 1, 2: 3}.get(kind, 0)
            values = [_number(value) for value in words[place + 1 : place + 1 + width]]
            place += 1 + width
            if code != 58 and width and len(values) == width:
                yield code, _colour(code, kind, values)


def _with_parts(parts: list[int]) -> Iterator[tuple[int, str]]:
    """One parameter with parts (ITU-T T.416): `4:3` for a curly line, `38:2::r:g:b`, `38:5:n`."""
    code, kind = parts[0], parts[1]
    if code == 4:
        yield 4, "4" if kind else ""
    elif code in (38, 48):
        values = parts[2:]
        if kind == 2 and len(values) >= 4:
            values = values[1:]  # the first names a colour space
        width = {5: 1, 2: 3}.get(kind, 0)
        if width and len(values) >= width:
            yield code, _colour(code, kind, values[:width])


def _colour(code: int, kind: int, values: list[int]) -> str:
    return ";".join(str(value) for value in (code, kind, *(max(min(value, 255), 0) for value in values)))


def _number(word: str) -> int:
    """A parameter; one that is left out is 0, and one of many digits means nothing."""
    return int(word or 0) if len(word) < 6 else -1
