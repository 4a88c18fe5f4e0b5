"""What a terminal would have shown of some output: its text without control sequences, and how that text is styled.

Sequences are those of ECMA-48 (5th edition, section 5.4 and 8.3.117 SGR) and of xterm's operating system commands.
Only styles have an effect. Everything else that is a whole sequence is left out; what is none, a lone escape say,
stays in the text for whoever shows it to make visible.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

_SEQUENCE = re.compile(
    rb"\x1b(?:"
    rb"\[[0-?]*+[ -/]*+[@-~]"  # control sequences: CSI
    rb"|[\]PX^_][^\x07\x1b\n]*+(?:\x07|\x1b\\)"  # strings: OSC, DCS, SOS, PM, APC
    rb"|[ -/]++[0-~]"  # such as the choice of a character set
    rb"|[0-OQ-WYZ\\`-~]"  # the rest of the two-byte ones
    rb")"
)
_SGR = re.compile(rb"\x1b\[([0-9;:]*)m")
# A carriage return goes back to the start of the line; what follows is written over it.
_OVERWRITTEN = re.compile(rb"(?m)^[^\n]*\r(?=[^\r\n])")
_RETURNS = re.compile(rb"\r+(?=\n|\Z)")

_FLAGS = {1: "1", 2: "2", 3: "3", 4: "4", 7: "7", 9: "9", 21: "4"}
"""Bold, faint, italic, underlined (once or twice), inverse, struck out. Concealed and blinking text is shown as any
other: output must not be able to hide itself."""
_CLEARS = {22: (1, 2), 23: (3,), 24: (4,), 27: (7,), 29: (9,), 39: (38,), 49: (48,)}
_COLOURS = (38, 48, 58)


def visible(data: bytes) -> bytes:
    """The bytes of some rows without control sequences and without what was overwritten after a carriage return.

    It has as many newlines as `data`.
    """
    if b"\x1b" in data:
        data = _SEQUENCE.sub(b"", data)
    if b"\r" in data:
        data = _RETURNS.sub(b"", _OVERWRITTEN.sub(b"", data))
    return data


def overwrites(data: bytes) -> bool:
    """Whether the row has text that was written over, as progress bars do."""
    return b"\r" in data.rstrip(b"\r\n")


def styled(row: bytes, style: str) -> tuple[bytes, list[tuple[int, int, str]], str]:
    """`visible` of one row, the styles of its parts as (start, end, style) in bytes of that, and the style after it.

    A style is the parameters of the one SGR sequence that would set it, such as `1;31` or `38;5;208`; empty for
    plain text. `style` is the one that the row begins with.
    """
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
    cut = whole.rfind(b"\r") + 1
    kept = [
        (max(start - cut, 0), min(end, len(whole)) - cut, sgr)
        for start, end, sgr in runs
        if end > cut and start < len(whole)
    ]
    return whole[cut:], kept, style


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
