"""Making something of a task's output, in order, as far as it is stored: once, for all who ask for it."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol
from uuid import UUID

from testum.core.states import FINAL
from testum.db.tasks import Task
from testum.errors import OutputDamaged
from testum.services.output import Outputs, Source

_FIRST_READ = 512 * 1024
_MOST_READ = 4 * 1024 * 1024
"""Each read takes twice as much as the one before, up to this: something is there soon, and a large output costs few
turns of reading here and working in a thread, each of which waits for its turn on a busy machine."""
FAULT_SECONDS = 10.0
"""What was found damaged is looked at again after so long: it may have been restored."""
_UNASKED_SECONDS = 5.0
"""Work that nobody has asked about for so long rests, until somebody does."""


class Consumer(Protocol):
    """What is made of encoded output. It is fed in a thread, by one at a time."""

    offset: int
    """How many encoded bytes it took."""

    def feed(self, data: bytes) -> int:
        """Take encoded output from `offset` on; how many bytes were taken: a piece of a frame at the end need not
        be."""

    def pause(self, *, ended: bool) -> None:
        """All that is stored was fed; `ended`: and nothing more will be."""


class OutputReading:
    """Feeds one task's output to a consumer."""

    def __init__(self, outputs: Outputs, task_id: UUID, consumer: Consumer, threads: Executor) -> None:
        self._outputs = outputs
        self._task_id = task_id
        self._consumer = consumer
        self._threads = threads
        self._pass: asyncio.Task[bool] | None = None
        self._ticked = asyncio.Event()
        self._asked = 0.0
        self._size: int | None = None
        self._output_bytes = 0
        self.whole = False
        """Whether the task has ended, and all of its output was fed."""
        self.fault: OutputDamaged | None = None
        """Why no more of it was fed than was, where that is not all."""
        self._fault_at = 0.0

    def outdated(self, task: Task) -> bool:
        """Whether who asks now is to begin anew: it ended with a fault, and that long ago, or the task, which was lost, has
        more output since."""
        if self.fault is not None and time.monotonic() - self._fault_at > FAULT_SECONDS:
            return True
        return self.whole and task.status in FINAL and task.output_bytes != self._output_bytes

    @property
    def progress(self) -> float:
        """The part that was fed of what there is, 0 to 1; 0 while the task runs and its size is not known."""
        if self.whole or self._size == 0:
            return 1.0
        return min(self._consumer.offset / self._size, 1.0) if self._size else 0.0

    async def advance(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> bool:
        """Go on for so long at most, or until it is `enough`; whether all was fed that is stored now. Raises
        NotFound and StorageUnavailable."""
        self._asked = time.monotonic()
        deadline = self._asked + seconds
        while not self.whole:
            if self._pass is None:
                self._pass = asyncio.create_task(self._go(), name="read-output")
                self._pass.add_done_callback(self._rest)
            running = self._pass
            ticked = asyncio.create_task(self._ticked.wait())
            try:
                await asyncio.wait(
                    (running, ticked),
                    timeout=max(deadline - time.monotonic(), 0),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                ticked.cancel()
            if running.done():
                if running.result():
                    return True
            elif enough() or time.monotonic() >= deadline:
                return False
        return True

    def _rest(self, done: asyncio.Task[bool]) -> None:
        self._pass = None
        if not done.cancelled():
            done.exception()  # raised to whoever waits; there may be nobody

    async def _go(self) -> bool:
        """Feed all that is stored; False where nobody asked any more."""
        loop, consumer = asyncio.get_running_loop(), self._consumer
        async with self._outputs.source(self._task_id) as source:
            self._size, self._output_bytes = source.size, source.task.output_bytes
            try:
                if not await self._feed(source):
                    return False
            except OutputDamaged as fault:
                self.fault, self._fault_at = fault, time.monotonic()
                self._outputs.distrust(self._task_id)
            await loop.run_in_executor(self._threads, lambda: consumer.pause(ended=source.ended))
            self.whole = source.ended or self.fault is not None
        return True

    async def _feed(self, source: Source) -> bool:
        loop, consumer = asyncio.get_running_loop(), self._consumer
        kept, size = b"", _FIRST_READ
        while data := await source.read(consumer.offset + len(kept), size):
            size = min(2 * size, _MOST_READ)
            kept += data
            taken = await loop.run_in_executor(self._threads, consumer.feed, kept)
            kept = kept[taken:]
            self._ticked.set()
            self._ticked = asyncio.Event()
            if time.monotonic() - self._asked > _UNASKED_SECONDS:
                return False
        return True

    async def close(self) -> None:
        """Stop."""
        if self._pass is not None:
            self._pass.cancel()
            await asyncio.gather(self._pass, return_exceptions=True)
