"""An SSH server that ends what is run as real ones do that OpenSSH is not: with any exit status of 32 bits, as Windows'
does, or without one, as some network devices do. A library serves it: no OpenSSH can be made to."""

import asyncio
import threading
from typing import Any

import asyncssh
from asyncssh.packet import UInt32

from tests.support.waiting import turns


class _Server(asyncssh.SSHServer):
    """One connection to the device."""

    def __init__(self, connections: "list[asyncssh.SSHServerConnection]") -> None:
        self._connections = connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connections.append(conn)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == Device.password


class Device:
    """Runs nothing: a command `end NUMBER` ends with that exit status, any other one without."""

    username = "admin"
    password = "of-the-device"

    def __init__(self) -> None:
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="device", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port: int = self._server.get_port()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        key = asyncssh.generate_private_key("ssh-ed25519")
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: _Server(self._connections),
            server_host_keys=[key],
            process_factory=self._run,
        )

    @staticmethod
    async def _run(process: "asyncssh.SSHServerProcess[Any]") -> None:
        process.stdout.write("of the device\n")
        word, _, number = (process.command or "").partition(" ")
        if word == "end":
            # What asyncssh's own `exit` sends, which keeps the lowest bits.
            process.channel._send_request(b"exit-status", UInt32(int(number)))
        process.close()

    def close(self) -> None:
        """Stop."""

        async def end() -> None:
            self._server.close()
            for connection in self._connections:
                # testum keeps them.
                connection.abort()
                await connection.wait_closed()
            await self._server.wait_closed()
            await turns(3)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
