"""TCP proxies between testum's parts and the servers it leans on: each part has one of its own to each server, so that
its way alone can be made slow, or cut (with nft, by the proxy's port)."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from tests.support.waiting import lag, turns

_CHUNK = 256 * 1024


class Proxies:
    """An event loop in a thread that carries all bytes."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._made: list[Proxy] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def add(self, target: int) -> "Proxy":
        """A proxy on a free port of the loopback, to a port there."""
        made: Proxy = self._do(Proxy.start(target))
        self._made.append(made)
        return made

    def close(self) -> None:
        """End all connections."""
        for made in self._made:
            self._loop.call_soon_threadsafe(made.server.close)
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @staticmethod
    async def _end() -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # What was aborted is closed at the loop's next turns.
        await turns(3)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


class Proxy:
    """One way. `delay` (seconds) is what each byte is late in each direction; `holding`: something has come since `hold`
    and waits."""

    server: asyncio.Server

    def __init__(self, target: int, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop
        self.delay = 0.0
        self.holding = False
        self._flowing, self._answering = asyncio.Event(), asyncio.Event()
        self._flowing.set()
        self._answering.set()
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()

    @classmethod
    async def start(cls, target: int) -> "Proxy":
        """Listen."""
        made = cls(target, asyncio.get_running_loop())
        made.server = await asyncio.start_server(made._serve, "127.0.0.1", 0, backlog=200)
        made.port = made.server.sockets[0].getsockname()[1]
        return made

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            # As a host without the server would: reset.
            writer.transport.abort()
            return
        self._open |= {writer, back}
        own = asyncio.current_task()
        assert own is not None
        # The loop itself holds its tasks weakly.
        self._serving.add(own)
        try:
            with suppress(asyncio.CancelledError):
                await asyncio.gather(
                    self._carry(reader, back, self._flowing), self._carry(there, writer, self._answering)
                )
        finally:
            self._open -= {writer, back}
            self._serving.discard(own)
            for each in (writer, back):
                each.transport.abort()

    def cut(self) -> None:
        """Break all connections, as a line that is cut would; new ones are carried."""
        self._loop.call_soon_threadsafe(self._abort)

    def hold(self) -> None:
        """Carry nothing until `release`."""
        self._loop.call_soon_threadsafe(self._flowing.clear)
        self.hold_answers()

    def hold_answers(self) -> None:
        """Carry nothing back until `release`."""
        self._loop.call_soon_threadsafe(self._answering.clear)

    def release(self) -> None:
        """Carry what was held, and go on."""
        self._loop.call_soon_threadsafe(self._flowing.set)
        self._loop.call_soon_threadsafe(self._answering.set)

    def _abort(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, flowing: asyncio.Event
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)
        sender = asyncio.create_task(self._send(queue, target, flowing))
        loop = asyncio.get_running_loop()
        data = b"x"
        try:
            while data:
                data = await source.read(_CHUNK)
                await queue.put((loop.time() + self.delay, data))
            await sender
        except OSError:
            sender.cancel()
            target.transport.abort()
        finally:
            sender.cancel()

    async def _send(
        self,
        queue: "asyncio.Queue[tuple[float, bytes]]",
        target: asyncio.StreamWriter,
        flowing: asyncio.Event,
    ) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while True:
                due, data = await queue.get()
                if due > loop.time():
                    await lag(due - loop.time())
                if not flowing.is_set():
                    self.holding = True
                    await flowing.wait()
                    self.holding = False
                if not data:
                    # Both ends close their side: half-open connections are nothing testum's servers use.
                    target.close()
                    return
                target.write(data)
                await target.drain()
        target.transport.abort()
        while True:
            await queue.get()
