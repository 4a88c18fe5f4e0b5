"""Looking for text in a task's output: which rows match, how many, and where in them.

What is matched is what is shown: rows without control sequences (core/terminal.py). Regular expressions are RE2's,
whose time is linear in the text whatever the pattern (Cox, "Regular Expression Matching in the Wild", 2010).
"""

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from testum.core.frames import Stream
from testum.core.terminal import visible
from testum.errors import FieldProblem, InvalidInput

MAX_PATTERN = 1000
_MEMORY = 8 * 1024 * 1024
_BUFFER = 64 * 1024
_LONGEST = 1024 * 1024
"""A row longer than this is matched in parts of this length: a match across the seam of two is not found."""
_STEP = 64 * 1024
_MOST_MARKS = 32 * 1024
_SINGLE_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")

Find = Callable[[bytes, int], tuple[int, int] | None]
Count = Callable[[bytes, int], int]


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for. `case`: upper and lower case differ. `regex`: the text is a regular expression."""

    text: str
    case: bool = False
    regex: bool = False


class Matcher:
    """Finds a query in rows. Raises InvalidInput for a pattern that is none, or is too large."""

    def __init__(self, query: Query) -> None:
        if not query.text or "\n" in query.text:
            raise InvalidInput.field("q", "must be some text on one line.")
        if len(query.text) > MAX_PATTERN:
            raise InvalidInput.field("q", f"takes at most {MAX_PATTERN} characters.")
        self._lower = False
        self._find: Find
        self._count: Count
        if query.regex or not (query.case or query.text.isascii()):
            self._find, self._count = self._expression(query)
        else:
            self._lower = not query.case
            text = query.text.encode("utf-8", "replace")
            self._find, self._count = _literal(text.lower() if self._lower else text)

    @staticmethod
    def _expression(query: Query) -> tuple[Find, Count]:
        # With the first search that needs it: it takes an idle server 2 MB.
        import re2

        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MEMORY
        options.case_sensitive = query.case
        options.literal = not query.regex
        options.never_nl = True
        options.never_capture = True
        if query.regex and _SINGLE_BYTE.search(query.text):
            raise _unreadable(r"\C matches parts of characters, and newlines")
        # With (?m) the anchors mean a row's ends; with never_nl nothing matches across rows.
        pattern = f"(?m:{query.text})" if query.regex else query.text
        try:
            # As it is first: what is wrong with it is then told without what is put around it.
            re2.compile(query.text, options)
            compiled = re2.compile(pattern, options)
            options.literal = False
            rows = re2.compile(f"(?:{pattern if query.regex else re2.escape(pattern)})[^\\n]*", options)
        except (re2.error, UnicodeEncodeError) as error:
            raise _unreadable(_reason(error, query.text)) from None

        def find(text: bytes, start: int) -> tuple[int, int] | None:
            match = compiled.search(text, start)
            # After the last newline there is no row, though an expression may match nothing there.
            return match.span() if match is not None and match.start() < len(text) else None

        def count(text: bytes, start: int) -> int:
            number, end = 0, -1
            for match in rows.finditer(text, start):
                first, last = match.span()
                # What begins where the last one ended is the end of the same row: it matches nothing there once more.
                number += end < first < len(text)
                end = last
            return number

        return find, count

    def rows(self, data: bytes) -> Iterator[int]:
        """Which of the rows in `data`, counted from 0, match. Each of them ends with a newline."""
        row = 0
        place = 0
        text = self._prepare(data)
        find = self._find
        while place < len(text) and (found := find(text, place)) is not None:
            row += text.count(b"\n", place, found[0])
            yield row
            row += 1
            place = text.index(b"\n", found[1]) + 1

    def count(self, data: bytes) -> int:
        """How many of the rows in `data` match. Each of them ends with a newline."""
        text = self._prepare(data)
        found = self._find(text, 0)
        # Most have none: to look for one takes the least.
        return self._count(text, found[0]) if found is not None else 0

    def _prepare(self, data: bytes) -> bytes:
        text = visible(data)
        return text.lower() if self._lower else text

    def spans(self, text: bytes, most: int = 200) -> list[tuple[int, int]]:
        """Where in a row's visible text it matches; no more than `most` of the places."""
        if self._lower:
            text = text.lower()
        spans: list[tuple[int, int]] = []
        place = 0
        while len(spans) < most and (found := self._find(text, place)) is not None:
            place = found[1]
            if found[0] == place:
                # It matches nothing here; there is nothing to mark, and to look at every place takes long.
                break
            spans.append(found)
        return spans


def _literal(wanted: bytes) -> tuple[Find, Count]:
    length = len(wanted)
    # Each match takes the rest of its row along: the engine then counts rows, and Python need not.
    rows = re.compile(re.escape(wanted) + rb"[^\n]*")

    def find(text: bytes, start: int) -> tuple[int, int] | None:
        first = text.find(wanted, start)
        return (first, first + length) if first >= 0 else None

    def count(text: bytes, start: int) -> int:
        return len(rows.findall(text, start))

    return find, count


def _unreadable(reason: str) -> InvalidInput:
    return InvalidInput(
        f"The expression cannot be read: {reason}.",
        code="bad_expression",
        fields=[FieldProblem("q", reason)],
    )


def _reason(error: Exception, text: str) -> str:
    """RE2's own words; where the part that it names is the whole text, without it."""
    if isinstance(error, UnicodeEncodeError):
        return "invalid UTF-8"
    said = error.args[0]
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return words.removesuffix(f": {text}")


class _WholeRows:
    """Brings frames together to whole rows, many at once."""

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher
        self._stream: Stream | None = None
        self._held = bytearray()
        self._within = False
        self._within_matched = False

    def take(self, stream: Stream, data: bytes) -> None:
        """Go on with the next bytes, a frame's or the rest of one."""
        if stream is not self._stream:
            self._end()
            self._stream = stream
        self._held += data
        if len(self._held) >= _BUFFER:
            self.settle()

    def settle(self) -> None:
        """Look at all whole rows that were taken."""
        whole = self._held.rfind(b"\n") + 1
        if whole:
            self._hand_on(bytes(self._held[:whole]))
            del self._held[:whole]
        if len(self._held) >= _LONGEST:
            self._within_matched = self._within_matched or self.matcher.count(bytes(self._held) + b"\n") > 0
            self._within = True
            self._held.clear()

    def finish(self) -> None:
        """No more will come: the last row ends here."""
        self._end()
        self._stream = None

    def _end(self) -> None:
        self.settle()
        if self._held or self._within:
            self._hand_on(bytes(self._held) + b"\n")
            self._held.clear()

    def _hand_on(self, data: bytes) -> None:
        matched, self._within, self._within_matched = self._within_matched, False, False
        self._look(data, first_matched=matched)

    def _look(self, data: bytes, *, first_matched: bool) -> None:
        """Look at whole rows. `first_matched`: `data` has but the end of the first, and what was before matched."""
        raise NotImplementedError


class Search(_WholeRows):
    """How many rows match, up to where it was fed, and between which rows they are. Bounded like RowIndex."""

    def __init__(self, matcher: Matcher, *, step: int = _STEP, most: int = _MOST_MARKS) -> None:
        super().__init__(matcher)
        self._step = step
        self._most = most
        self._since_mark = 0
        self._marks: tuple[array[int], array[int]] = (array("Q", [0]), array("Q", [0]))
        self.rows = 0
        """How many rows were looked at to their end."""
        self.count = 0
        """How many of them match."""

    @property
    def size(self) -> int:
        """Roughly the memory it takes, in bytes."""
        return 16 * len(self._marks[0]) + len(self._held) + 1000

    def _look(self, data: bytes, *, first_matched: bool) -> None:
        self.count += self.matcher.count(data)
        if first_matched and not self.matcher.count(data[: data.index(b"\n") + 1]):
            self.count += 1
        self.rows += data.count(b"\n")
        self._since_mark += len(data)
        if self._since_mark >= self._step:
            self._mark()

    def _mark(self) -> None:
        self._since_mark = 0
        rows, counts = self._marks
        counts.append(self.count)
        rows.append(self.rows)
        if len(rows) > self._most:
            self._step *= 2
            self._marks = (rows[::2], counts[::2])

    def stretch(self, row: int, *, forward: bool) -> tuple[int, int, int] | None:
        """The next rows (first, last) in which to look for a match, at or after `row`, or else before it; and how
        many rows match before the first. None: there is no match beyond `row`.

        The first stretch that is named is that of `row` itself, which may have its matches on the other side: then
        ask again, from its far end.
        """
        rows, counts = self._marks
        rows, counts = array("Q", [*rows, self.rows]), array("Q", [*counts, self.count])
        if (row > self.rows) if forward else (row <= 1):
            return None
        if forward:
            mark = bisect_right(rows, row - 1) - 1
            if counts[mark + 1] == counts[mark]:
                mark = bisect_right(counts, counts[mark]) - 1
                if mark + 1 >= len(rows):
                    return None
        else:
            mark = min(bisect_left(rows, row - 1) - 1, len(rows) - 2)
            if counts[mark + 1] == counts[mark]:
                mark = bisect_left(counts, counts[mark]) - 1
                if mark < 0:
                    return None
        return rows[mark] + 1, rows[mark + 1], counts[mark]


class Hits(_WholeRows):
    """Which rows match, from a given one on."""

    def __init__(self, matcher: Matcher, first: int) -> None:
        super().__init__(matcher)
        self.rows = first - 1
        """The last row that was looked at to its end."""
        self.found: list[int] = []

    def _look(self, data: bytes, *, first_matched: bool) -> None:
        first = self.rows + 1
        if first_matched:
            self.found.append(first)
        self.found += (
            row for place in self.matcher.rows(data) if (row := first + place) not in self.found[-1:]
        )
        self.rows += data.count(b"\n")
