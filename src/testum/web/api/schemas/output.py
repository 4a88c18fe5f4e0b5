"""What tasks printed: lines, searches, and how outputs differ."""

import datetime as dt
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from testum.core.difference import Change
from testum.core.states import TaskStatus


class LineOut(BaseModel):
    """A line of output: one stream's bytes up to a newline, or up to where the other stream breaks in. `text` is what
    a terminal would have left of it, `styles` are `[start, end, SGR parameters]` and `matches` `[start, end]` in
    characters of it. `length` is the line's in bytes; where it is long, `text` is `cut`. A line that is `open` may
    still grow. `overwritten`: it wrote over itself, as progress bars do."""

    number: int | None = Field(description="From 1; null in a `tail` before all is counted.")
    ts: dt.datetime
    stream: Literal["stdout", "stderr"]
    text: str
    styles: list[tuple[int, int, str]]
    matches: list[tuple[int, int]]
    length: int
    cut: bool
    open: bool
    overwritten: bool


class LinesOut(BaseModel):
    """Lines that follow each other. `total` is how many there are, as far as is known: all that is stored now where
    it is `complete`, all there will ever be where the output has also `ended`. With an `error_code`, what was stored
    behind them is damaged (`output_damaged`) or missing (`output_missing`)."""

    lines: list[LineOut]
    total: int
    complete: bool
    ended: bool
    progress: float = Field(description="How much of the output was counted, from 0 to 1.")
    error_code: str | None
    error_message: str | None


class PieceOut(BaseModel):
    """Bytes of one line, from byte `offset` on. `data` is the exact bytes in Base64 where `text` is not exact."""

    number: int
    offset: int
    size: int
    text: str
    data: str | None


class FoundOut(BaseModel):
    """What a search has found so far: `count` lines match among the first `searched`. `hits` are some of their
    numbers, in order, and the first of them is the `ordinal`-th of all that match. `error_code` as of lines."""

    count: int
    hits: list[int]
    ordinal: int | None
    searched: int
    complete: bool
    ended: bool
    progress: float
    error_code: str | None
    error_message: str | None


class OutputGroupOut(BaseModel):
    """Tasks that ended alike and printed the same on each stream, byte for byte. `names` are their platforms',
    folded (`web[01-40]`), and `task_id` the first of them, or the task that was asked for."""

    names: str
    count: int
    task_id: UUID
    status: TaskStatus
    exit_code: int | None
    error_code: str | None
    output_bytes: int


class OutputsOut(BaseModel):
    """A job's tasks by what they printed, the largest group first, and last those in which nothing ran. `total` is how
    many groups there are (of the status that was asked for), `largest` the task of the first of all, `pending` how
    many tasks have not ended; where it is not `complete`, the groups have `compared` tasks so far."""

    groups: list[OutputGroupOut]
    total: int
    largest: UUID | None
    pending: int
    compared: int
    complete: bool


class ChangedOut(BaseModel):
    """A line of a difference. `old` and `new` are its numbers in both streams; a `gap` stands for lines left out."""

    change: Change
    text: str
    old: int | None
    new: int | None


class StreamDifferenceOut(BaseModel):
    """How one stream differs; `whole` says that this is all of it."""

    stream: Literal["stdout", "stderr"]
    lines: list[ChangedOut]
    whole: bool


class DifferenceOut(BaseModel):
    """How the second task's output differs from the first's, for each stream that does."""

    streams: list[StreamDifferenceOut]
