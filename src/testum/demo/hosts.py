"""Six SSH hosts in this process, for a newcomer who has no server at hand.

They listen on the loopback only, let in only the login made at this start and the keys that are deployed to
them, and run real commands with this machine's /bin/sh, each host in a home directory of its own.
"""

import asyncio
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from testum.demo.processes import Processes

USERNAME = "demo"
TAG = "demo"
ADDRESS = "127.0.0.1"
_HOSTS = {
    "web-01": ("web", "prod"),
    "web-02": ("web", "prod"),
    "web-03": ("web", "staging"),
    "db-01": ("db", "prod"),
    "cache-01": ("cache", "prod"),
    "build-01": ("build",),
}
_LOGIN_SECONDS = 30
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class DemoHost:
    """A demo host that listens. `private_key` logs in to it; `host_key` is its public key's line."""

    name: str
    host: str
    port: int
    username: str
    private_key: str
    tags: tuple[str, ...]
    host_key: str


class DemoHosts:
    """The demo hosts. Their homes are in `folder` and stay there for the next start.

    Only one of these may use a folder at a time: starting ends what an earlier one that was killed
    left running.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._processes = Processes(self._folder)
        self._acceptors: list[asyncssh.SSHAcceptor] = []
        self._connections: set[asyncssh.SSHServerConnection] = set()

    async def start(self) -> list[DemoHost]:
        """Start all hosts. Raises OSError if the folder cannot be written or no port is to be had."""
        self._processes.start()
        login = asyncssh.generate_private_key("ssh-ed25519")
        try:
            return [await self._start_host(name, (TAG, *tags), login) for name, tags in _HOSTS.items()]
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all hosts, and end everything that runs on them. Also right after a failed start."""
        for acceptor in self._acceptors:
            acceptor.close()
        for connection in list(self._connections):
            connection.abort()
        for acceptor in self._acceptors:
            await acceptor.wait_closed()
        self._acceptors.clear()
        await self._processes.stop()

    async def _start_host(self, name: str, tags: tuple[str, ...], login: asyncssh.SSHKey) -> DemoHost:
        home = self._folder / name
        environment = await asyncio.to_thread(_make_home, home, name)

        async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
            await self._processes.serve(process, home, environment)

        host_key = asyncssh.generate_private_key("ssh-ed25519")
        acceptor = await asyncssh.listen(
            ADDRESS,
            0,
            server_host_keys=[host_key],
            server_factory=lambda: _Server(login.public_data, home, self._connections),
            process_factory=handle,
            # Bytes pass as they are: output need not be text.
            encoding=None,
            line_editor=False,
            allow_pty=False,
            agent_forwarding=False,
            x11_forwarding=False,
            compression_algs=["none"],
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_host=None,
            login_timeout=_LOGIN_SECONDS,
        )
        self._acceptors.append(acceptor)
        return DemoHost(
            name=name,
            host=ADDRESS,
            port=acceptor.get_port(),
            username=USERNAME,
            private_key=login.export_private_key("openssh").decode("ascii"),
            tags=tags,
            host_key=host_key.export_public_key("openssh").decode("ascii").strip(),
        )


class _Server(asyncssh.SSHServer):
    """One connection to a demo host: one user, one key and those in its authorized_keys, nothing forwarded."""

    def __init__(self, public_key: bytes, home: Path, connections: set[asyncssh.SSHServerConnection]) -> None:
        self._public_key = public_key
        self._authorized_keys = home / ".ssh" / "authorized_keys"
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        if username == USERNAME and self._connection is not None:
            # There is none before the first deployment, and whoever is logged in may write anything into it.
            with suppress(OSError, ValueError):
                self._connection.set_authorized_keys(str(self._authorized_keys))
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USERNAME and key.public_data == self._public_key


def _make_home(home: Path, name: str) -> dict[str, str]:
    """Make a host's home directory; the environment of its commands is returned.

    Nothing of this process's own environment is in it: that may hold the server's secrets.
    """
    tools = home / ".demo"
    for folder in (home.parent, home, tools):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for tool, text in _tools(name).items():
        path = tools / tool
        path.write_text(text, "utf-8")
        path.chmod(stat.S_IRWXU)
    return {
        "HOME": str(home),
        "HOSTNAME": name,
        "LANG": "C.UTF-8",
        "LOGNAME": USERNAME,
        "PATH": f"{tools}:{_PATH}",
        "SHELL": "/bin/sh",
        "USER": USERNAME,
    }


def _tools(name: str) -> dict[str, str]:
    """Programs that go before the machine's own: all demo hosts share its name, and should not seem to."""
    tools = {"hostname": f"#!/bin/sh\necho {name}\n"}
    uname = shutil.which("uname", path=_PATH)
    if uname:
        tools["uname"] = (
            f'#!/bin/sh\nanswer=$({uname} "$@") || exit\n'
            f'printf \'%s\\n\' "$answer" | sed -E "s/^([^ ]+ )?$({uname} -n)( |\\$)/\\1{name}\\2/"\n'
        )
    return tools
