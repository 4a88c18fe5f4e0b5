"""Where and as whom to connect, and which host keys to trust there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class PasswordAuth:
    """A password, for `password` (RFC 4252) or, where the server wants it, keyboard-interactive
    (RFC 4256)."""

    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyAuth:
    """A private key in any common format (OpenSSH, PKCS#1, PKCS#8), with its passphrase if it has one. `password` is for
    a server that asks for both (RFC 4252, section 5.1): it is given only where the server has accepted the key and asks
    for more, or does not ask for a key now."""

    private_key: str = field(repr=False)
    passphrase: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host's public key. `public_key` is its OpenSSH line without comment, `fingerprint` is `SHA256:...`."""

    algorithm: str
    public_key: str
    fingerprint: str


class HostTrust(Protocol):
    """What is known of one host's keys; the caller keeps it."""

    policy: Literal["auto_add", "strict"]

    @property
    def known(self) -> Sequence[HostKey]:
        """The full keys the host is trusted by; empty for a host never seen."""

    async def record(self, key: HostKey) -> None:
        """Trust on first use: called with `auto_add` after the first handshake with an unknown host,
        and before anything is run there. May raise SSHError to refuse."""

    async def alarm(self, key: HostKey) -> None:
        """The host showed `key` and not one it is trusted by. The connection is refused whatever this does."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to reach one host. Connections are shared by `id`: change it when anything else changes."""

    id: str
    host: str
    port: int
    username: str
    auth: PasswordAuth | KeyAuth
    trust: HostTrust
    jump: "Endpoint | None" = None
    old_algorithms: tuple[str, ...] = ()
    """Of `client.OLD`: allowed after all others, for a host that knows no better ones."""

    @property
    def address(self) -> str:
        """`user@host:port`, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.username}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long things may take, in seconds. `grace` is the time between TERM and KILL."""

    connect: float = 10.0
    idle: float | None = None
    total: float | None = None
    grace: float = 5.0
