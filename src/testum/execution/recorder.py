"""The recorder: takes a task's output as it comes and stores it as frames before anyone is told of it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from testum.core.frames import MAX_FRAME, Piece, Stream, decode_text, encoded_size, incomplete_utf8_tail
from testum.errors import StorageFull, StorageUnavailable, TestumError
from testum.events.base import Change, Events, Hint
from testum.output.base import OutputStore, Owner, TakenOver, Writer

log = structlog.get_logger(__name__)

SMALL_OUTPUT = 32 * 1024
"""Frames of at most this many bytes in all end in the database and leave no file."""
ROW_TEXT = 32 * 1024
"""Of larger output, the row holds this many last bytes of each stream."""
_FLUSH_DELAY = 0.02
"""Seconds that output may wait for more: short tasks then write no file at all, and nobody sees the wait."""


class OutputLimit(TestumError):
    """The task printed more than it may."""

    code = "output_limit"


@dataclass(slots=True)
class Recorded:
    """What was stored: the row's share of it. Where what was shown is small, `frames` is that; else it is None, and stored.
    `rest` comes after it, and is not stored yet: the last of a small output, and what was refused because the task was
    taken over."""

    stdout: str
    stderr: str
    truncated: bool
    output_frames: int
    output_bytes: int
    result_location: str | None
    frames: bytes | None
    rest: Sequence[Piece]


class Recorder:
    """Records one task. Memory is bounded: `write` waits for the store once two frames' worth are held."""

    def __init__(
        self,
        owner: Owner,
        *,
        outputs: OutputStore,
        events: Events,
        limit: int,
        on_failure: Callable[[TestumError], None] = lambda error: None,
    ) -> None:
        """`on_failure` is called as soon as output cannot be stored: who prints need not print again to hear of it."""
        self._owner = owner
        self._outputs = outputs
        self._events = events
        self._limit = limit
        self._on_failure = on_failure
        self._held: list[tuple[Stream, bytearray]] = []
        self._held_bytes = 0
        self._storing: Sequence[Piece] = ()
        """What is on its way to the store."""
        self._refused: list[Piece] = []
        """What was not stored because the task was taken over. The late result brings it."""
        self._begun: dict[Stream, bytes] = {}
        """The first bytes of a character whose rest has not come yet."""
        self._tails = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        self._small: bytearray | None = bytearray()
        self._writer: Writer | None = None
        self._frames = 0
        self._bytes = 0
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._failure: TestumError | None = None

    async def write(self, stream: Stream, data: bytes) -> None:
        """Take output. Raises StorageFull, TakenOver, StorageUnavailable or OutputLimit; what came before stays
        stored."""
        if self._failure is not None:
            raise self._failure
        room = max(self._limit - self._received, 0)
        self._received += len(data)
        if self._held and self._held[-1][0] is stream:
            self._held[-1][1].extend(data[:room])
        else:
            self._held.append((stream, bytearray(data[:room])))
        self._held_bytes += len(data)
        if len(data) > room:
            raise OutputLimit(
                f"The output went over the limit of {self._limit} bytes; it is kept up to there, and the command was ended."
            )
        if self._held_bytes >= MAX_FRAME:
            # One batch may be on its way to the disk while the next is gathered, and no more.
            if self._flushing is not None:
                await asyncio.shield(self._flushing)
            if self._failure is not None:
                raise self._failure
            self._flush_soon()
        elif self._timer is None and self._flushing is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_DELAY, self._flush_soon)

    def _flush_soon(self) -> None:
        """Flush in a task of its own: who writes may be cancelled, but a flush never ends half done."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_in_background())

    async def _flush_in_background(self) -> None:
        try:
            await self._flush()
        except Exception as error:
            self._on_failure(self._fail(error))
        finally:
            self._flushing = None
            if self._held and self._failure is None and self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_FLUSH_DELAY, self._flush_soon)

    async def _flush(self) -> None:
        """Store what is held and say so."""
        pieces = self._storing = self._take(last=False)
        if pieces:
            try:
                await self._append(pieces)
            except TakenOver:
                self._refused.extend(pieces)
                raise
            finally:
                self._storing = ()
            self._events.publish(Hint(self._owner.job_id, self._owner.task_id, Change.OUTPUT))

    async def _append(self, pieces: Sequence[Piece]) -> None:
        if self._writer is None:
            self._writer = await self._outputs.writer(self._owner)
        encoded = await self._writer.append(pieces)
        self._account(pieces)
        if self._small is not None:
            self._small += encoded
            if len(self._small) > SMALL_OUTPUT:
                self._small = None

    def _take(self, *, last: bool) -> list[Piece]:
        """What is held, cut into pieces that end where a character ends; at the `last`, all of it."""
        held, self._held, self._held_bytes = self._held, [], 0
        pieces: list[Piece] = []
        for stream, data in held:
            whole = self._begun.pop(stream, b"") + bytes(data)
            start = 0
            while start < len(whole):
                piece = whole[start : start + MAX_FRAME]
                start += len(piece)
                tail = incomplete_utf8_tail(piece)
                if tail and start < len(whole):
                    piece, start = piece[:-tail], start - tail
                elif tail:
                    self._begun[stream], piece = piece[-tail:], piece[:-tail]
                if piece:
                    pieces.append((stream, piece))
        if last:
            pieces += self._begun.items()
            self._begun.clear()
        return pieces

    def _account(self, pieces: Sequence[Piece]) -> None:
        for stream, data in pieces:
            self._frames += 1
            self._bytes += len(data)
            tail = self._tails[stream]
            tail += data[-ROW_TEXT:]
            if len(tail) > 2 * ROW_TEXT:
                del tail[:-ROW_TEXT]

    async def finish(self) -> Recorded:
        """Store the rest and close. Never raises: what could not be stored is in `failure`, or is small enough for the
        row."""
        if self._flushing is not None:
            await self._flushing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rest = await self._store_rest(self._take(last=True))
        if self._writer is not None:
            try:
                await self._writer.close()
            except Exception as error:
                self._fail(error)
        whole = self._failure is None or isinstance(self._failure, TakenOver)
        small = bytes(self._small) if whole and self._small is not None else None
        return Recorded(
            stdout=self.text(Stream.STDOUT),
            stderr=self.text(Stream.STDERR),
            truncated=small is None,
            output_frames=self._frames,
            output_bytes=self._bytes,
            result_location=self._outputs.location(self._owner.task_id) if small is None else None,
            frames=small,
            rest=rest,
        )

    async def _store_rest(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Store the last pieces, unless they go into the row because all of the output is small, or are the result's to
        bring because the task was taken over: those are returned."""
        if self._failure is None and not pieces:
            return ()
        if self._failure is None and self._fits(pieces):
            self._account(pieces)
            return pieces
        if self._failure is None:
            try:
                await self._append(pieces)
            except Exception as error:
                self._fail(error)
            else:
                return ()
        if not isinstance(self._failure, TakenOver):
            return ()
        refused = [*self._refused, *pieces]
        self._account(refused)
        if not self._fits(refused):
            self._small = None
        return refused

    def _fits(self, pieces: Sequence[Piece]) -> bool:
        """Whether the output is small with these."""
        return self._small is not None and len(self._small) + encoded_size(pieces) <= SMALL_OUTPUT

    def _fail(self, error: Exception) -> TestumError:
        if isinstance(error, StorageFull | TakenOver):
            self._failure = error
            return error
        told = error.message if isinstance(error, TestumError) else (str(error) or type(error).__name__)
        log.error("output cannot be stored", task=str(self._owner.task_id), exc_info=error)
        self._failure = StorageUnavailable(
            f"The output could not be stored: {told} It is kept up to there, and the command was ended."
        )
        return self._failure

    async def discard(self) -> None:
        """The row has it all (committed): what was stored before, if anything, is not needed any more."""
        if self._writer is not None:
            await self._outputs.discard(self._owner.task_id)

    @property
    def failure(self) -> TestumError | None:
        """Why the output could not be stored to its end, if so."""
        return self._failure

    def text(self, stream: Stream) -> str:
        """A stream's output as text: all of it while it is small, else its last ROW_TEXT bytes."""
        storing = b"".join(data for of, data in self._storing if of is stream)
        held = b"".join(bytes(data) for of, data in self._held if of is stream)
        tail = bytes(self._tails[stream]) + storing + self._begun.get(stream, b"") + held
        return decode_text(tail if self._small is not None else tail[-ROW_TEXT:])[0]
