"""A task's output by lines: pages of it by number, its last ones, and looking for text in it.

Lines are found by an index (core/rows.py) that one pass over the output makes. Indexes are kept for the tasks that
were looked at last, and shared by all who look; where the task runs, they grow with it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from testum.core.frames import Frame, FrameDecoder
from testum.core.lines import Line, show
from testum.core.permissions import JOBS_READ, Actor
from testum.core.rows import Place, Row, RowIndex, RowReader, resynchronize
from testum.core.search import Hits, Matcher, Query, Search
from testum.db import tasks
from testum.db.session import Database
from testum.db.tasks import Task
from testum.errors import NotFound, OutputDamaged
from testum.services.access import Gate
from testum.services.output import Outputs, Source
from testum.services.output_reading import Consumer, OutputReading

K = TypeVar("K", bound=Hashable)
C = TypeVar("C", bound=Consumer)

MAX_LINES = 1000
MAX_HITS = 1000
MAX_PIECE = 1024 * 1024
_WAIT_SECONDS = 0.8
"""An answer tells how far the work has come rather than make its asker wait longer than this."""
_HIT_WAIT_SECONDS = 0.3
"""After this, a search answers with the first match there is, and the count comes later."""
_READ = 256 * 1024
_PAGE_BYTES = 1024 * 1024
"""A page ends early, where its lines have so many bytes."""
_INDEXES = 64
_SEARCHES = 32
_TAIL_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LinePage:
    """Some lines that follow each other. `total` is how many lines there are, as far as is known; `complete`, that
    all output stored now was counted; `ended`, that no more will come."""

    lines: list[Line]
    total: int
    complete: bool
    ended: bool
    progress: float
    fault: OutputDamaged | None = None
    """What is the matter with the output behind the lines that there are."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found so far: how many lines match, and some of them, the first of which is the `ordinal`-th
    of all that match. `searched` is how many lines were looked at."""

    count: int
    hits: list[int]
    ordinal: int | None
    searched: int
    complete: bool
    ended: bool
    progress: float
    fault: OutputDamaged | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one line from `offset` on."""

    number: int
    offset: int
    data: bytes


class _Index(RowIndex):
    """See Consumer."""

    def pause(self, *, ended: bool) -> None:
        """See Consumer.pause."""


class _Searching(Search):
    """See Consumer."""

    def __init__(self, matcher: Matcher) -> None:
        super().__init__(matcher)
        self.offset = 0
        self._decoder = FrameDecoder()

    def feed(self, data: bytes) -> int:
        """See Consumer.feed."""
        for frame in self._decoder.feed(data):
            self.take(frame.stream, frame.data)
        self.offset += len(data)
        return len(data)

    def pause(self, *, ended: bool) -> None:
        """See Consumer.pause."""
        if ended:
            self.finish()
        else:
            self.settle()


class _Kept(Generic[K, C]):
    """The consumers that were used last, each with its reading."""

    def __init__(self, most: int, make: Callable[[K], tuple[C, OutputReading]]) -> None:
        self._most = most
        self._make = make
        self._held: OrderedDict[K, tuple[C, OutputReading]] = OrderedDict()

    def get(self, key: K, task: Task) -> tuple[C, OutputReading]:
        held = self._held.get(key)
        if held is None or held[1].outdated(task):
            held = self._make(key)
        self._held[key] = held
        self._held.move_to_end(key)
        while len(self._held) > self._most:
            # Whoever uses it now goes on with what it has.
            self._held.popitem(last=False)
        return held

    async def close(self) -> None:
        for _, reading in self._held.values():
            await reading.close()


class Lines:
    """Use cases of output by lines. `close` it."""

    def __init__(self, database: Database, gate: Gate, outputs: Outputs) -> None:
        self._database = database
        self._gate = gate
        self._outputs = outputs
        # Python runs one of them at a time: two, so that a page need not wait behind a long search.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="lines")
        self._indexes: _Kept[UUID, _Index] = _Kept(_INDEXES, self._make_index)
        self._searches: _Kept[tuple[UUID, Query], _Searching] = _Kept(_SEARCHES, self._make_search)

    def _make_index(self, task_id: UUID) -> tuple[_Index, OutputReading]:
        index = _Index()
        return index, OutputReading(self._outputs, task_id, index, self._threads)

    def _make_search(self, key: tuple[UUID, Query]) -> tuple[_Searching, OutputReading]:
        task_id, query = key
        search = _Searching(Matcher(query))
        return search, OutputReading(self._outputs, task_id, search, self._threads)

    async def page(
        self, actor: Actor, task_id: UUID, first: int, limit: int, query: Query | None = None
    ) -> LinePage:
        """Up to `limit` lines from line `first` on, with what matches `query` marked. There may be fewer before the
        end, where they are long. Raises NotFound and InvalidInput."""
        task, matcher = await self._begin(actor, task_id, query)
        index, reading = self._indexes.get(task_id, task)
        complete = await reading.advance(_WAIT_SECONDS, lambda: index.rows >= first + limit)
        return await self._page(task_id, index, reading, first, limit, matcher, complete=complete)

    async def tail(self, actor: Actor, task_id: UUID, limit: int, query: Query | None = None) -> LinePage:
        """The last `limit` lines. Where counting all before them takes long, they have no numbers yet. Raises
        NotFound and InvalidInput."""
        task, matcher = await self._begin(actor, task_id, query)
        index, reading = self._indexes.get(task_id, task)
        if await reading.advance(_WAIT_SECONDS):
            first = max(index.rows - limit + 1, 1)
            return await self._page(task_id, index, reading, first, limit, matcher, complete=True)
        async with self._outputs.source(task_id) as source:
            lines: list[Line] = []
            with suppress(OutputDamaged):
                # The count, which goes on, will come to it.
                lines = await self._last(source, limit, matcher)
            return LinePage(lines, index.rows, False, source.ended, reading.progress)

    async def piece(self, actor: Actor, task_id: UUID, number: int, offset: int, size: int) -> Piece:
        """Up to `size` bytes of a line, from its byte `offset` on; empty at its end. Raises NotFound."""
        task, _ = await self._begin(actor, task_id, None)
        index, reading = self._indexes.get(task_id, task)
        await reading.advance(_WAIT_SECONDS, lambda: index.rows > number)
        place = index.place(number)
        if place is None or number > index.rows:
            raise NotFound("There is no such line.")
        reader = RowReader(place, number, skip=offset, shown=size)
        async with self._outputs.source(task_id) as source:
            async for rows in self._rows(source, reader, place):
                row = next(rows, None) or reader.piece
                if row is not None:
                    return Piece(number, offset, row.data)
        raise NotFound("There is no such line.")

    async def search(
        self, actor: Actor, task_id: UUID, query: Query, start: int, limit: int, *, forward: bool = True
    ) -> Found:
        """How many lines match, and the first up to `limit` of them from line `start` on; without `forward`, the
        last ones before it. Raises NotFound and InvalidInput."""
        task, _ = await self._begin(actor, task_id, query)
        index, counting = self._indexes.get(task_id, task)
        searching, reading = self._searches.get((task_id, query), task)
        complete = await reading.advance(_HIT_WAIT_SECONDS)
        if not complete:
            complete = await reading.advance(
                _WAIT_SECONDS - _HIT_WAIT_SECONDS,
                lambda: (
                    (forward or searching.rows >= start)
                    and searching.stretch(start, forward=forward) is not None
                ),
            )
        # Its hits are found by the index, which is the quicker of the two.
        await counting.advance(_WAIT_SECONDS, lambda: index.rows >= searching.rows)
        # Where it has not got so far, hits are missing.
        complete = complete and (index.rows >= searching.rows or counting.fault is not None)
        hits, ordinal = await self._hits(task_id, index, searching, start, limit, forward=forward)
        return Found(
            count=searching.count,
            hits=hits,
            ordinal=ordinal,
            searched=searching.rows,
            complete=complete,
            ended=reading.whole,
            progress=reading.progress if not complete else 1.0,
            fault=reading.fault,
        )

    async def _begin(self, actor: Actor, task_id: UUID, query: Query | None) -> tuple[Task, Matcher | None]:
        await self._gate.check(actor, JOBS_READ, "task.read", "task", task_id)
        async with self._database.read() as session:
            found = await tasks.by_ids(session, [task_id])
        if not found:
            raise NotFound("There is no such task.")
        return found[0], Matcher(query) if query is not None else None

    async def _page(
        self,
        task_id: UUID,
        index: _Index,
        reading: OutputReading,
        first: int,
        limit: int,
        matcher: Matcher | None,
        *,
        complete: bool,
    ) -> LinePage:
        place = index.place(first)
        lines: list[Line] = []
        async with self._outputs.source(task_id) as source:
            if place is not None and first <= index.rows:
                lines = await self._read(source, place, first, limit, matcher)
            total = max(index.rows, lines[-1].number or 0 if lines else 0)
            # The rows and the count are of two moments: only where the count is final is it the end.
            ended = source.ended and reading.whole
            complete = complete or reading.whole
            if reading.fault is not None and not total:
                raise reading.fault
            return LinePage(
                lines, total, complete, ended, 1.0 if complete else reading.progress, reading.fault
            )

    async def _read(
        self, source: Source, place: Place, first: int, limit: int, matcher: Matcher | None
    ) -> list[Line]:
        rows: list[Row] = []
        size = 0
        reader = RowReader(place, first)
        with suppress(OutputDamaged):
            async for found in self._rows(source, reader, place):
                for row in found:
                    rows.append(row)
                    size += len(row.data)
                    if len(rows) == limit or size > _PAGE_BYTES:
                        return await self._show(rows, matcher)
            return await self._show(rows, matcher)
        # What stands before the damage is shown.
        rows += reader.rest(ended=True)
        return await self._show(rows[:limit], matcher)

    async def _show(self, rows: list[Row], matcher: Matcher | None, *, numbered: bool = True) -> list[Line]:
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: [show(row, matcher, numbered=numbered) for row in rows]
        )

    async def _rows(self, source: Source, reader: RowReader, place: Place) -> AsyncIterator[Iterator[Row]]:
        """The rows that a reader finds from its place on, frame by frame; the one that is not ended at last."""
        async for frames in self._frames(source, place):
            for frame in frames:
                yield reader.feed(frame)
        yield reader.rest(ended=source.ended)

    async def _frames(self, source: Source, place: Place) -> AsyncIterator[Iterator[Frame]]:
        decoder = FrameDecoder()
        offset = place.offset
        while data := await source.read(offset, _READ):
            offset += len(data)
            yield decoder.feed(data)

    async def _last(self, source: Source, limit: int, matcher: Matcher | None) -> list[Line]:
        """The last lines of a task that has ended, found from the end."""
        if source.size is None:
            return []
        offset = max(source.size - _TAIL_BYTES, 0)
        data = b""
        while more := await source.read(offset + len(data), _TAIL_BYTES - len(data)):
            data += more
        task = source.task
        begun, ended = task.started_position or 0, task.finished_position or 0
        start = await asyncio.get_running_loop().run_in_executor(
            self._threads, resynchronize, data, begun, ended
        )
        if start is None:
            return []
        # The first row found may have begun before.
        reader = RowReader(Place(1, 0, 0, {}), 2)
        rows: list[Row] = []
        for frame in FrameDecoder().feed(data[start:]):
            rows += reader.feed(frame)
        rows += reader.rest(ended=True)
        return await self._show(rows[-limit:], matcher, numbered=False)

    async def _hits(
        self, task_id: UUID, index: RowIndex, search: Search, start: int, limit: int, *, forward: bool
    ) -> tuple[list[int], int | None]:
        hits: list[int] = []
        ordinal = None
        async with self._outputs.source(task_id) as source:
            while len(hits) < limit and (stretch := search.stretch(start, forward=forward)) is not None:
                first, last, before = stretch
                if last > index.rows:
                    break
                matching = await self._matching(source, index, search.matcher, first, last)
                if forward:
                    wanted = [row for row in matching if row >= start][: limit - len(hits)]
                    if hits == [] and wanted:
                        ordinal = before + matching.index(wanted[0]) + 1
                    hits += wanted
                    start = last + 1
                else:
                    wanted = [row for row in matching if row < start][-(limit - len(hits)) :]
                    if wanted:
                        ordinal = before + matching.index(wanted[0]) + 1
                    hits = wanted + hits
                    start = first
        return hits, ordinal

    async def _matching(
        self, source: Source, index: RowIndex, matcher: Matcher, first: int, last: int
    ) -> list[int]:
        """Which of some rows match."""
        place = index.place(first)
        assert place is not None
        hits = Hits(matcher, place.row)
        inner = place.inner
        loop = asyncio.get_running_loop()
        with suppress(OutputDamaged):
            async for frames in self._frames(source, place):
                for frame in frames:
                    await loop.run_in_executor(self._threads, hits.take, frame.stream, frame.data[inner:])
                    inner = 0
                if hits.rows >= last:
                    break
        await loop.run_in_executor(self._threads, hits.finish)
        return [row for row in hits.found if first <= row <= last]

    async def close(self) -> None:
        """Stop what is under way."""
        await self._indexes.close()
        await self._searches.close()
        self._threads.shutdown()
