"""The pool: warm connections, shared by whatever runs on the same endpoint.

Each connection is kept by one task of its own (`_keep`), which takes all that it needs in scopes, one within the other:
its place below the limit, its way through a jump host, the connection. Each program takes its seat on a connection in a
scope (`_Use`). So nothing that is taken can be left taken, whatever is raised or cancelled between.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from testum.ssh.dialer import Dialer
from testum.ssh.endpoint import Endpoint, HostKey, Timeouts
from testum.ssh.errors import ConnectionLost, JumpLoop, SSHError
from testum.ssh.execution import Execution, Progress, Shell
from testum.ssh.fifo_slots import Places, Turns
from testum.ssh.link import Link, NotSent, start_program
from testum.ssh.program import Program, encode
from testum.ssh.termination import Found, Sought, Termination, look, terminate

if TYPE_CHECKING:
    import asyncssh

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


class Pool:
    """Connections by endpoint. Belongs to one event loop."""

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self._limits = limits or PoolLimits()
        self._places = Places(self._limits.max_connections)
        self._links: dict[str, list[Link]] = {}
        self._keepers: dict[Link, asyncio.Task[None]] = {}
        """Who keeps which connection: those in `_links`, and those that are being closed."""
        self._idle: dict[Link, None] = {}
        """What nobody uses, the longest idle first."""
        self._leaving: set[Link] = set()
        """What is being closed, and has a place until then."""
        self._turns = Turns()
        self._closed = False
        self._dialer = Dialer(self._make_room)
        self._plain: dict[str, None] = {}

    @asynccontextmanager
    async def run(
        self,
        endpoint: Endpoint,
        program: Program,
        *,
        marker: str,
        timeouts: Timeouts,
        progress: Progress | None = None,
    ) -> AsyncIterator[Execution]:
        """Run a program: `async with pool.run(...) as execution`, which is closed at the end of the block. `progress` says
        how far it came, also where this fails or is cancelled.

        A pooled connection that turns out dead, or full, before the program was asked for is replaced; after
        that the program is never sent again. Raises SSHError.
        """
        progress = progress or Progress()
        request = encode(program, marker, progress.attempt)
        if program.plain:
            self._remember_plain(marker)
        dead = 0
        for _ in range(_MOST_TRIES):
            with _Use(self) as use:
                link = await self._seat(endpoint, timeouts.connect, use)
                try:
                    execution = await start_program(link, request, endpoint, timeouts, progress)
                except NotSent as error:
                    dead += error.dead
                    if dead > 1:
                        break
                    continue
                try:
                    yield execution
                finally:
                    execution.close()
                return
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
        sent_at: float | None = None,
        attempt: str = "",
        shell: Shell | None = None,
    ) -> Termination:
        """End everything on the host that bears `marker`, and look whether it is gone. Never raises
        for what SSH does: then nothing is confirmed, and the reason says why. `begun`: whether the program has proven
        that it began; if not, that nothing bears the marker says nothing. `sent_at`: since when (time.monotonic) a process
        without mark may be the program's; None: none is looked for. `attempt`: see Sought. `shell`: who began it, which is ended
        with its session whatever it has put in its own place."""
        if marker in self._plain:
            return Termination(
                "unconfirmed",
                "The program was started as it is (plain), without a mark to find its processes by.",
            )
        return await terminate(
            self,
            endpoint,
            marker,
            grace=grace,
            connect_timeout=connect_timeout,
            begun=begun,
            sent_at=sent_at,
            attempt=attempt,
            shell=shell,
        )

    async def look(
        self,
        endpoint: Endpoint,
        sought: Sequence[Sought],
        *,
        grace: float,
        connect_timeout: float = 10.0,
    ) -> Found:
        """Look on the host for what bears the markers, and end what is to be ended; all in one go. Never raises for what
        SSH does: then nothing is confirmed, and the reason says why."""
        return await look(self, endpoint, sought, grace=grace, connect_timeout=connect_timeout)

    def turn(self, key: str) -> AbstractAsyncContextManager[None]:
        """For what only one at a time may do, to be known by this key: `async with pool.turn(key)`."""
        return self._turns.of(key)

    async def check(self, endpoint: Endpoint, timeouts: Timeouts) -> Probe:
        """Connect anew, log in and leave. Raises SSHError."""
        loop = asyncio.get_running_loop()
        async with self._through(endpoint, timeouts.connect) as tunnel:
            begun = loop.time()
            async with self._dialer.connected(endpoint, timeouts.connect, tunnel) as client:
                taken = loop.time() - begun
                version = str(client.connection.get_extra_info("server_version", ""))
        assert client.presented is not None
        shown = "".join(character for character in version if character.isprintable())[:200]
        return Probe(client.presented, taken, shown)

    async def forget(self, endpoint_id: str) -> None:
        """Close the endpoint's connections that nothing uses."""
        for link in list(self._links.get(endpoint_id, ())):
            if link in self._idle:
                self._leave(link)

    async def close(self) -> None:
        """Close everything."""
        self._closed = True
        for links in list(self._links.values()):
            for link in list(links):
                self._leave(link)
        if self._keepers:
            await asyncio.wait(list(self._keepers.values()))

    # -- seats: what a program or a tunnel has of a connection --------------------------------------

    async def _seat(self, endpoint: Endpoint, timeout: float, use: "_Use") -> Link:
        """A standing connection with room for one more program, which is counted from now on by `use`. Raises SSHError."""
        while True:
            link = self._standing(endpoint, seats=1) or self._opening(endpoint, timeout, seats=1)
            use.take(link, seats=1)
            # A place for another connection may be long in coming: a seat on one that stands is as good.
            while link.opening and self._standing(endpoint, seats=1) is None:
                await link.change()
            link.check()
            # A server that shows to allow fewer programs than were waiting gets the others over another connection.
            if link.alive and link.seats <= link.capacity:
                return link
            use.leave()

    @asynccontextmanager
    async def _through(
        self, endpoint: Endpoint, timeout: float
    ) -> AsyncIterator["asyncssh.SSHClientConnection | None"]:
        """The connection to the endpoint's jump host, which stays while it is used; None where there is none. It is made
        at once, also beyond the limit: who goes through it has a place already, and would keep that while both wait.
        Raises SSHError."""
        jump = endpoint.jump
        if jump is None:
            yield None
            return
        hops, hop = 0, jump
        while hop.jump is not None:
            hops, hop = hops + 1, hop.jump
            if hops >= _MAX_JUMPS:
                raise JumpLoop(f"{endpoint.address}: more than {_MAX_JUMPS} jump hosts; do they form a loop?")
        link = self._standing(jump, seats=0) or self._opening(jump, timeout, seats=0)
        with _Use(self) as use:
            use.take(link, seats=0)
            try:
                while link.opening:
                    await link.change()
                link.check()
            except SSHError as error:
                raise type(error)(
                    f"jump host {error.message}", host_key=error.host_key, of_jump_host=True
                ) from None
            yield link.connection

    def _standing(self, endpoint: Endpoint, *, seats: int) -> Link | None:
        """A connection that stands and has so many free seats."""
        for link in list(self._links.get(endpoint.id, ())):
            if link.alive and not link.trusted_by(endpoint):
                link.retire()
                if not link.users:
                    self._leave(link)
            elif link.alive and link.takes(seats):
                return link
        return None

    def _opening(self, endpoint: Endpoint, timeout: float, *, seats: int) -> Link:
        """A connection that is being made and has so many free seats; a new one where there is none. `seats` 0: for a
        tunnel, which waits for no place. Raises ConnectionLost."""
        if self._closed:
            raise ConnectionLost("testum is stopping.")
        for link in self._links.get(endpoint.id, ()):
            if link.opening and link.takes(seats) and (seats or link.has_begun):
                return link
        link = Link(endpoint.id, self._capacity(endpoint.id))
        self._enter(link, asyncio.create_task(self._keep(link, endpoint, timeout, at_once=not seats)))
        return link

    def _capacity(self, endpoint_id: str) -> int:
        """How many programs a connection takes, as far as the server has shown."""
        shown = [link.capacity for link in self._links.get(endpoint_id, ()) if link.capacity]
        return min([self._limits.channels_per_connection, *shown])

    def _stir(self, link: Link) -> None:
        """A seat on the connection has become free: for those who wait for another one to the same host."""
        for other in self._links.get(link.endpoint_id, ()):
            if other.opening:
                other.stir()

    # -- connections: who keeps them, and when they are closed --------------------------------------

    def _enter(self, link: Link, keeper: "asyncio.Task[None]") -> None:
        """From now on others find the connection, until its keeper ends."""
        self._keepers[link] = keeper
        self._links.setdefault(link.endpoint_id, []).append(link)
        keeper.add_done_callback(partial(self._ended, link))

    def _ended(self, link: Link, keeper: "asyncio.Task[None]") -> None:
        """What went wrong before the connection stood is for those who wait for it."""
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            link.fail(error)
        self._leave(link)
        del self._keepers[link]

    def _give_place(self, link: Link) -> None:
        """Give back what the connection has of the places."""
        self._leaving.discard(link)
        self._places.give(link)

    async def _keep(self, link: Link, endpoint: Endpoint, timeout: float, *, at_once: bool) -> None:
        """One connection from its beginning to its end."""
        async with AsyncExitStack() as stack:
            stack.callback(self._give_place, link)
            if not self._places.take(link) and not at_once:
                if self._places.wanted >= len(self._leaving):
                    self._make_room()
                await self._places.wait(link)
            link.has_begun = True
            tunnel = await stack.enter_async_context(self._through(endpoint, timeout))
            connected = self._dialer.connected(
                endpoint,
                timeout,
                tunnel,
                keepalive_interval=self._limits.keepalive_interval,
                keepalive_count=self._limits.keepalive_count_max,
            )
            client = await stack.enter_async_context(connected)
            link.stand(client)
            client.when_lost(partial(self._leave, link))
            if not link.users:
                self._rest(link)
            await link.closing.wait()

    def _wake(self, link: Link) -> None:
        """Somebody uses the connection."""
        self._idle.pop(link, None)
        if link.idle_timer is not None:
            link.idle_timer.cancel()

    def _rest(self, link: Link) -> None:
        """Nobody uses the connection any more: it stays for a while, unless it is of no use, or has no place, or more wait
        for one than are about to be free."""
        useless = not link.alive or not link.capacity or not self._places.holds(link)
        if useless or self._closed or self._places.wanted > len(self._leaving):
            self._leave(link)
            return
        self._idle[link] = None
        link.idle_timer = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._leave, link)

    def _make_room(self) -> "asyncio.Task[None] | None":
        """Close a connection that nobody uses; who keeps it, until it is closed. None where all are in use.

        The newest goes, of those that have served once only while there are such. Whoever goes round more hosts than there
        are places meets each of them again after all the others: had the oldest gone, none would be there any more.
        """
        once = (link for link in reversed(self._idle) if link.times_used == 1)
        link = next(once, None) or next(reversed(self._idle), None)
        if link is None:
            return None
        self._leave(link)
        return self._keepers[link]

    def _leave(self, link: Link) -> None:
        """Close a connection, or give up making it. Nobody gets it any more."""
        links = self._links.get(link.endpoint_id, [])
        if link in links:
            links.remove(link)
            if not links:
                del self._links[link.endpoint_id]
        self._wake(link)
        if link.opening:
            link.fail(ConnectionLost("testum is stopping."))
            self._keepers[link].cancel()
        if self._places.holds(link):
            self._leaving.add(link)
        link.closing.set()
        link.stir()


class _Use:
    """The use of a connection, with so many programs, until the end of the block: `with _Use(pool) as use`."""

    __slots__ = ("_link", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._link: Link | None = None

    def __enter__(self) -> "_Use":
        return self

    def take(self, link: Link, *, seats: int) -> None:
        """Use this connection."""
        self._link = link
        link.users[self] = seats
        link.times_used += 1
        self._pool._wake(link)

    def leave(self) -> None:
        """Use none. A connection that nobody uses may be closed after a while, or at once for another's sake."""
        link, self._link = self._link, None
        if link is None:
            return
        link.users.pop(self, None)
        if link.users:
            self._pool._stir(link)
        else:
            self._pool._rest(link)

    def __exit__(self, *error: object) -> None:
        self.leave()
