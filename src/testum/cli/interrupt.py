"""Ctrl-C during a job, or another request to end: the first cancels the job, the second leaves at once."""

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from types import FrameType, TracebackType

from testum.cli.failures import INTERRUPTED

FIRST = "Cancelling ... (Ctrl-C again leaves at once)"


class Interrupt:
    """Counts Ctrl-C while the `with` block runs; a closed terminal and TERM count alike. `last_words` is what
    the second one prints. With `at_once` the first one leaves: for watching what others may have started."""

    def __init__(self, last_words: Callable[[], str], *, at_once: bool = False) -> None:
        self.requested = False
        self._at_once = at_once
        self._last_words = last_words
        self._wake: Callable[[], object] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # What was ignored when we were started (nohup) stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]

    async def wait(self) -> None:
        """Return when Ctrl-C has been pressed."""
        pressed = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._wake = partial(loop.call_soon_threadsafe, pressed.set)
        if not self.requested:
            await pressed.wait()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # The program may be stuck in a write to a pipe that nobody reads, in the middle of a buffer:
        # so the second Ctrl-C must not go through the buffered streams or the event loop.
        if self.requested or self._at_once:
            _tell(self._last_words())
            os._exit(INTERRUPTED)
        self.requested = True
        _tell(FIRST)
        if self._wake is not None:
            self._wake()


def _tell(text: str) -> None:
    clear = "\r\x1b[K" if os.isatty(2) else ""
    try:
        os.write(2, f"{clear}{text}\n".encode())
    except OSError:
        return
