"""The pool: warm connections, shared by whatever runs on the same endpoint."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import asyncssh

from testum.ssh.connection import dial
from testum.ssh.endpoint import Endpoint, HostKey, Timeouts
from testum.ssh.errors import ConnectionLost, JumpLoop, SSHError
from testum.ssh.execution import Execution
from testum.ssh.keys import KeyRing
from testum.ssh.link import Link, NotSent, start_program
from testum.ssh.program import Program, encode
from testum.ssh.termination import Termination, terminate

_MAX_JUMPS = 8
_MOST_TRIES = 12
"""How often a program that was not sent is tried over another connection: a server that allows one
session in each shows it to one program after the other."""
_PLAIN_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of a pool. Times in seconds. `channels_per_connection` stays below OpenSSH's default
    MaxSessions of 10, so that a look for `terminate` still finds room."""

    idle_seconds: float = 60.0
    keepalive_interval: float = 15.0
    keepalive_count_max: int = 3
    channels_per_connection: int = 8
    max_connections: int = 1024


@dataclass(frozen=True, slots=True)
class Probe:
    """What a connection test saw. The latency is that of connecting and logging in."""

    host_key: HostKey
    latency_seconds: float
    server_version: str


@dataclass(slots=True)
class _Dial:
    """A connection in the making, and how many wait for it. `counted`: it has its place below the limit,
    and does not wait for one any more."""

    task: "asyncio.Task[Link]"
    counted: asyncio.Event
    waiting: int = 0
    settled: bool = False


class Pool:
    """Connections by endpoint. Belongs to one event loop."""

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self._limits = limits or PoolLimits()
        self._keys = KeyRing()
        self._links: dict[str, list[Link]] = {}
        self._dials: dict[str, _Dial] = {}
        self._count = 0
        self._room = asyncio.Condition()
        self._closed = False
        self._plain: dict[str, None] = {}

    async def start(
        self,
        endpoint: Endpoint,
        program: Program,
        *,
        marker: str,
        timeouts: Timeouts,
        on_send: Callable[[], None] | None = None,
        on_begin: Callable[[], None] | None = None,
    ) -> Execution:
        """Run a program. `on_send` is called when it may have been sent: a failure or cancellation before that means
        that nothing was run. `on_begin` is called when it has proven that it began; a plain one never does.

        A pooled connection that turns out dead, or full, before the program was sent is replaced; after
        that the program is never sent again. Raises SSHError.
        """
        request = encode(program, marker)
        if program.plain:
            self._remember_plain(marker)
        dead = 0
        for _ in range(_MOST_TRIES):
            link = await self._acquire(endpoint, timeouts.connect)
            release = partial(self._release, link)
            try:
                return await start_program(
                    link, request, endpoint, timeouts, on_send=on_send, on_begin=on_begin, release=release
                )
            except NotSent as error:
                release()
                dead += error.dead
                if dead > 1:
                    break
            except BaseException:
                release()
                raise
        raise ConnectionLost(
            f"{endpoint.address}: the connection broke before the command could be sent, and so did the next one."
        )

    def _remember_plain(self, marker: str) -> None:
        self._plain[marker] = None
        if len(self._plain) > _PLAIN_REMEMBERED:
            del self._plain[next(iter(self._plain))]

    async def terminate(
        self,
        endpoint: Endpoint,
        marker: str,
        *,
        grace: float,
        connect_timeout: float = 10.0,
        begun: bool = True,
    ) -> Termination:
        """End everything on the host that bears `marker`, and look whether it is gone. Never raises
        for what SSH does: then nothing is confirmed, and the reason says why. `begun`: whether the program has proven
        that it began; if not, that nothing bears the marker says nothing."""
        if marker in self._plain:
            return Termination(
                "unconfirmed",
                "The program was started as it is (plain), without a mark to find its processes by.",
            )
        return await terminate(
            self, endpoint, marker, grace=grace, connect_timeout=connect_timeout, begun=begun
        )

    async def check(self, endpoint: Endpoint, timeouts: Timeouts) -> Probe:
        """Connect anew, log in and leave. Raises SSHError."""
        loop = asyncio.get_running_loop()
        jump = await self._jump(endpoint, timeouts.connect)
        try:
            begun = loop.time()
            connection, client = await dial(
                endpoint,
                keys=self._keys,
                tunnel=jump.connection if jump else None,
                timeout=timeouts.connect,
                keepalive_interval=0,
                keepalive_count=1,
            )
            taken = loop.time() - begun
            version = str(connection.get_extra_info("server_version", ""))
            connection.abort()
        finally:
            if jump is not None:
                self._unpin(jump)
        assert client.presented is not None
        shown = "".join(character for character in version if character.isprintable())[:200]
        return Probe(client.presented, taken, shown)

    async def forget(self, endpoint_id: str) -> None:
        """Close the endpoint's connections that nothing uses."""
        for link in list(self._links.get(endpoint_id, ())):
            if link.idle:
                self._drop(link)

    async def close(self) -> None:
        """Close everything."""
        self._closed = True
        for entry in list(self._dials.values()):
            entry.task.cancel()
        links = [link for links in self._links.values() for link in links]
        for link in links:
            self._drop(link)
        for link in links:
            with suppress(asyncssh.Error, OSError, TimeoutError):
                await asyncio.wait_for(link.connection.wait_closed(), 2)

    # -- connections ------------------------------------------------------------------------------

    async def _acquire(self, endpoint: Endpoint, timeout: float, *, as_jump: bool = False) -> Link:
        """A connection with room for one more program, which is counted.

        One that another connection goes through is made at once, also beyond the limit: that other one has
        its place already, and would keep it while both wait.
        """
        while True:
            if self._closed:
                raise ConnectionLost("testum is stopping.")
            link = self._free_link(endpoint)
            if link is not None:
                self._take(link)
                return link
            entry = self._dials.get(endpoint.id)
            full = entry is not None and entry.waiting >= self._capacity(endpoint.id)
            if entry is None or full or (as_jump and not entry.counted.is_set()):
                entry = self._begin_dial(endpoint, timeout, as_jump=as_jump)
                entry.task.add_done_callback(partial(self._dialed, endpoint.id, entry))
            entry.waiting += 1
            try:
                link = await asyncio.shield(entry.task)
            except asyncio.CancelledError:
                if entry.task.cancelled():
                    raise ConnectionLost("testum is stopping.") from None
                self._leave(entry)
                raise
            # What `_dialed` pinned for us, so that nobody closes it as idle before we come.
            link.pins -= 1
            if link.alive and link.channels < link.capacity:
                self._take(link)
                return link
            self._rest(link)

    def _leave(self, entry: _Dial) -> None:
        """One that waits for the connection does not want it any more."""
        entry.waiting -= 1
        if entry.settled:
            if entry.task.exception() is None:
                self._unpin(entry.task.result())
        elif entry.waiting == 0:
            entry.task.cancel()

    def _begin_dial(self, endpoint: Endpoint, timeout: float, *, as_jump: bool) -> _Dial:
        counted = asyncio.Event()
        if as_jump:
            self._count += 1
            counted.set()
        task = asyncio.create_task(self._dial(endpoint, timeout, counted), name=f"dial-{endpoint.address}")
        entry = self._dials[endpoint.id] = _Dial(task, counted)
        return entry

    def _dialed(self, endpoint_id: str, entry: _Dial, task: "asyncio.Task[Link]") -> None:
        if self._dials.get(endpoint_id) is entry:
            del self._dials[endpoint_id]
        entry.settled = True
        if not task.cancelled() and task.exception() is None:
            link = task.result()
            link.pins += entry.waiting
            self._unpin(link)

    def _free_link(self, endpoint: Endpoint) -> Link | None:
        for link in list(self._links.get(endpoint.id, ())):
            if not link.alive:
                self._drop(link)
            elif not link.trusted_by(endpoint):
                link.retire()
                self._rest(link)
            elif link.channels < link.capacity:
                return link
        return None

    def _capacity(self, endpoint_id: str) -> int:
        """How many programs a connection takes, as far as the server has shown."""
        shown = [link.capacity for link in self._links.get(endpoint_id, ()) if link.capacity]
        return min([self._limits.channels_per_connection, *shown])

    def _take(self, link: Link) -> None:
        link.channels += 1
        self._busy(link)

    def _busy(self, link: Link) -> None:
        if link.idle_timer is not None:
            link.idle_timer.cancel()
            link.idle_timer = None

    def _release(self, link: Link) -> None:
        link.channels -= 1
        self._rest(link)

    def _unpin(self, link: Link) -> None:
        link.pins -= 1
        self._rest(link)

    def _rest(self, link: Link) -> None:
        """If nothing uses the link any more, it may be closed after a while, or at once for another's sake."""
        if not link.idle:
            return
        if not link.alive or not link.capacity or self._closed:
            self._drop(link)
            return
        loop = asyncio.get_running_loop()
        link.idle_since = loop.time()
        link.idle_timer = loop.call_later(self._limits.idle_seconds, self._drop, link)
        self._signal()

    def _signal(self) -> None:
        """Someone may be waiting for room."""
        if self._count >= self._limits.max_connections:
            task = asyncio.ensure_future(self._notify())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _notify(self) -> None:
        async with self._room:
            self._room.notify()

    async def _dial(self, endpoint: Endpoint, timeout: float, counted: asyncio.Event) -> Link:
        if not counted.is_set():
            await self._make_room()
            counted.set()
        jump: Link | None = None
        try:
            jump = await self._jump(endpoint, timeout)
            connection, client = await dial(
                endpoint,
                keys=self._keys,
                tunnel=jump.connection if jump else None,
                timeout=timeout,
                keepalive_interval=self._limits.keepalive_interval,
                keepalive_count=self._limits.keepalive_count_max,
            )
        except BaseException:
            self._count -= 1
            if jump is not None:
                self._unpin(jump)
            self._signal()
            raise
        link = Link(endpoint.id, connection, client, jump, self._capacity(endpoint.id))
        # Until `_dialed` knows who waits for it.
        link.pins = 1
        self._links.setdefault(endpoint.id, []).append(link)
        return link

    async def _make_room(self) -> None:
        """Count one more connection; at the limit the longest idle one goes, or this one waits."""
        async with self._room:
            while self._count >= self._limits.max_connections:
                idle = [link for links in self._links.values() for link in links if link.idle]
                if idle:
                    self._drop(min(idle, key=lambda link: link.idle_since))
                else:
                    await self._room.wait()
            self._count += 1

    async def _jump(self, endpoint: Endpoint, timeout: float) -> Link | None:
        """The connection to the jump host, pinned: it stays while one goes through it."""
        if endpoint.jump is None:
            return None
        hops, hop = 0, endpoint.jump
        while hop.jump is not None:
            hops, hop = hops + 1, hop.jump
            if hops >= _MAX_JUMPS:
                raise JumpLoop(f"{endpoint.address}: more than {_MAX_JUMPS} jump hosts; do they form a loop?")
        try:
            link = await self._acquire(endpoint.jump, timeout, as_jump=True)
        except SSHError as error:
            raise type(error)(
                f"jump host {error.message}", host_key=error.host_key, of_jump_host=True
            ) from None
        link.channels -= 1
        link.pins += 1
        return link

    def _drop(self, link: Link) -> None:
        """Close a connection and forget it."""
        links = self._links.get(link.endpoint_id)
        if links is None or link not in links:
            return
        links.remove(link)
        if not links:
            del self._links[link.endpoint_id]
        self._busy(link)
        link.dropped = True
        link.connection.abort()
        self._signal()
        self._count -= 1
        if link.jump is not None:
            self._unpin(link.jump)
