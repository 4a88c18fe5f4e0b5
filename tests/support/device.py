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

    def __init__(self, device: "Device") -> None:
        self._device = device

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._device.connections.append(conn)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return self._device.takes(password)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._device.takes(key.get_fingerprint())


class Device:
    """Runs nothing: a command `end NUMBER` ends with that exit status, any other one without."""

    username = "admin"
    password = "of-the-device"

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self._address = address, port
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key_line = " ".join(self._key.export_public_key().decode().split()[:2])
        self.connections: list[asyncssh.SSHServerConnection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="device", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port: int = self._server.get_port()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            *self._address,
            server_factory=lambda: _Server(self),
            server_host_keys=[self._key],
            process_factory=self._run,
        )

    def takes(self, proof: str) -> bool:
        """Whether a password or the fingerprint of a key lets one in."""
        return proof == self.password

    async def _run(self, process: "asyncssh.SSHServerProcess[Any]") -> None:
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
            for connection in self.connections:
                # testum keeps them.
                connection.abort()
                await connection.wait_closed()
            await self._server.wait_closed()
            await turns(3)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Stranger(Device):
    """Takes whoever comes, and notes all that is told: passwords, keys' fingerprints, commands."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.heard: list[str] = []
        super().__init__(address, port)

    def takes(self, proof: str) -> bool:
        """It does."""
        self.heard.append(proof)
        return True

    async def _run(self, process: "asyncssh.SSHServerProcess[Any]") -> None:
        self.heard.append(process.command or "")
        process.exit(0)
