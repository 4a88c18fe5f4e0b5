"""Lines as they are shown: a row's text, how it is styled, and where it matches what is looked for."""

from dataclasses import dataclass

from testum.core.frames import Stream, decode_text
from testum.core.rows import SHOWN, Row
from testum.core.search import Matcher
from testum.core.terminal import overwrites, styled


@dataclass(frozen=True, slots=True)
class Line:
    """A row as it is shown. `styles` are (start, end, SGR parameters) and `matches` (start, end), in characters of
    `text`, which has no newline. `length` is the row's in bytes; `cut` says that `text` is not all of it, `open` that
    it may still grow, `overwritten` that it wrote over itself and `text` is what was left.

    `number` is None where the row's place is not known yet.
    """

    number: int | None
    position: int
    stream: Stream
    text: str
    styles: list[tuple[int, int, str]]
    matches: list[tuple[int, int]]
    length: int
    cut: bool
    open: bool
    overwritten: bool


def show(row: Row, matcher: Matcher | None = None, *, numbered: bool = True) -> Line:
    """A row as a line; with a matcher, its matches are marked."""
    visible, styles, _ = styled(row.data, row.style)
    matches = matcher.spans(visible) if matcher is not None else []
    text, exact = decode_text(visible)
    if (styles or matches) and not visible.isascii():
        styles = [
            (_characters(visible, a, exact), _characters(visible, b, exact), sgr) for a, b, sgr in styles
        ]
        matches = [(_characters(visible, a, exact), _characters(visible, b, exact)) for a, b in matches]
    return Line(
        number=row.number if numbered else None,
        position=row.position,
        stream=row.stream,
        text=text,
        styles=styles,
        matches=matches,
        length=row.length,
        cut=row.length > SHOWN,
        open=row.open,
        overwritten=overwrites(row.data),
    )


def _characters(visible: bytes, place: int, exact: bool) -> int:
    """Which character of the text the byte at `place` belongs to."""
    if exact:
        return len(visible[:place].decode("utf-8", "ignore"))
    return min(len(decode_text(visible[:place])[0]), len(decode_text(visible)[0]))
