"""The client's side of a handshake: which host key is accepted, and how to log in."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import asyncssh

from testum.ssh.endpoint import Endpoint, HostKey, KeyAuth, PasswordAuth
from testum.ssh.errors import HostKeyChanged, HostKeyUnknown, SSHError

KEX = [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group14-sha1",
    # Slower than the others, and as good for now: for servers that allow nothing else.
    "mlkem768x25519-sha256",
]
ENCRYPTION = [
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
]
OLD = {
    "kex_algs": ["diffie-hellman-group-exchange-sha1", "diffie-hellman-group1-sha1"],
    "encryption_algs": ["aes256-cbc", "aes192-cbc", "aes128-cbc", "3des-cbc"],
    "mac_algs": ["hmac-sha1-96", "hmac-md5", "hmac-md5-96"],
    "server_host_key_algs": ["ssh-dss"],
}
"""What is allowed only where an endpoint says so, by asyncssh's option."""
_MOST_OF_QUESTION = 200
_HOST_KEY_ALGORITHMS = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
    "ssh-rsa",
]
"""Cheap and sound ones first, old ones for old hosts last; OpenSSH and asyncssh name them alike."""


class Client(asyncssh.SSHClient):
    """One connection's decisions. What went wrong, if asyncssh cannot say it, is left in `failure`."""

    def __init__(self, endpoint: Endpoint, key: asyncssh.SSHKey | None) -> None:
        self._endpoint = endpoint
        self._key = key
        self._asked = False
        self._given = False
        self._password_wanted = isinstance(endpoint.auth, PasswordAuth)
        """Whether the password may be given now."""
        self.failure: SSHError | None = None
        self.presented: HostKey | None = None
        self.first_use = False
        self.made: asyncssh.SSHClientConnection | None = None
        self.asked: str | None = None
        """What the server asks for when it has accepted what it got: the names of methods, or its question."""
        self.refused: str | None = None
        """Which of `key` and `password` it has not accepted."""
        self._tried: str | None = None
        self._on_loss: Callable[[], None] | None = None
        self._lost = False

    def answered(self, methods: Sequence[str], *, partial: bool) -> None:
        """The server goes on with one of these methods; `partial`: it has accepted what was tried last."""
        if partial:
            self.more_is_asked(", ".join(methods))
        elif self._tried is not None:
            # The first that it refuses is the reason.
            self.refused, self.asked = self.refused or self._tried, None
        self._tried = None
        if isinstance(self._endpoint.auth, KeyAuth):
            # A password does not stand in for a key that was refused.
            first = "publickey" not in methods and self.refused is None
            self._password_wanted = partial or self._password_wanted or first

    def more_is_asked(self, what: str) -> None:
        """The server accepted what it got, and asks for more."""
        self.asked = "".join(character for character in what if character.isprintable())[:_MOST_OF_QUESTION]

    @property
    def connection(self) -> asyncssh.SSHClientConnection:
        """The connection, once it is made."""
        assert self.made is not None
        return self.made

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """The transport stands; the handshake comes next."""
        self.made = conn

    def when_lost(self, call: Callable[[], None]) -> None:
        """What to call when the connection is gone, which may be by now."""
        self._on_loss = call
        if self._lost:
            call()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._lost = True
        if self._on_loss is not None:
            self._on_loss()

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Accept only a key the host is trusted by, or under `auto_add` the first one seen."""
        line = key.export_public_key("openssh").decode("ascii").strip()
        public_key = " ".join(line.split(" ")[:2])
        self.presented = presented = HostKey(key.get_algorithm(), public_key, key.get_fingerprint("sha256"))
        trust = self._endpoint.trust
        if any(known.public_key == public_key for known in trust.known):
            return True
        if trust.known:
            expected = ", ".join(known.fingerprint for known in trust.known)
            self.failure = HostKeyChanged(
                f"{self._endpoint.address}: the host key has changed. Trusted: {expected}; shown: "
                f"{presented.fingerprint}. If the host was reinstalled, check the new key and accept it; "
                "otherwise someone may stand between.",
                host_key=presented,
            )
            return False
        if trust.policy == "strict":
            self.failure = HostKeyUnknown(
                f"{self._endpoint.address}: the host key {presented.fingerprint} ({presented.algorithm}) is not "
                "known, and the policy is strict. Check it on the host and accept it.",
                host_key=presented,
            )
            return False
        self.first_use = True
        return True

    def _password_once(self) -> str | None:
        """The password, the first time: asking again means that it was wrong."""
        if self._asked or not self._password_wanted:
            return None
        password = self._endpoint.auth.password
        if password is not None:
            self._asked, self._tried = True, "password"
        return password

    def public_key_auth_requested(self) -> asyncssh.SSHKey | None:
        """The key, once."""
        key, self._key = self._key, None
        if key is not None:
            self._tried = "key"
        return key

    def password_auth_requested(self) -> str | None:
        """The password for `password`."""
        return self._password_once()

    def kbdint_auth_requested(self) -> str | None:
        """Take part in keyboard-interactive if the password was not refused already."""
        may = self._password_wanted and self._endpoint.auth.password is not None and not self._asked
        return "" if may else None

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> Sequence[str] | None:
        """Answer the one hidden prompt with the password; a challenge without prompts only says something."""
        if not prompts:
            return []
        given, self._given = self._given, True
        if given or len(prompts) != 1 or prompts[0][1]:
            # A wrong password ends the talk; who goes on in it wants something else.
            self.more_is_asked(" ".join(text.strip() for text, _ in prompts))
            self._tried = None
            return None
        password = self._password_once()
        return None if password is None else [password]


def options_for(endpoint: Endpoint, keepalive_interval: float, keepalive_count: int) -> Any:
    """The connection options. Everything of one host is in its Client, so that all hosts share one
    object: building it is a good part of the cost of a connection."""
    known = tuple(dict.fromkeys(key.algorithm for key in endpoint.trust.known))
    match endpoint.auth:
        case KeyAuth(password=None):
            methods = "publickey"
        case KeyAuth():
            methods = "publickey,password,keyboard-interactive"
        case PasswordAuth():
            methods = "password,keyboard-interactive"
    return _options(known, methods, endpoint.old_algorithms, keepalive_interval, keepalive_count)


@lru_cache(maxsize=64)
def _options(known: tuple[str, ...], methods: str, old: tuple[str, ...], interval: float, count: int) -> Any:
    allowed = {option: [name for name in names if name in old] for option, names in OLD.items()}
    return asyncssh.SSHClientConnectionOptions(
        server_host_key_algs=[*_host_key_algorithms(known), *allowed["server_host_key_algs"]],
        kex_algs=[*KEX, *allowed["kex_algs"]],
        encryption_algs=[*ENCRYPTION, *allowed["encryption_algs"]],
        # A plus adds to asyncssh's own, which are sound.
        mac_algs=f"+{','.join(allowed['mac_algs'])}" if allowed["mac_algs"] else (),
        config=None,
        agent_path=None,
        # Empty, not None, which would switch the checking off: the decision is the Client's.
        known_hosts=b"",
        client_keys=None,
        preferred_auth=methods,
        compression_algs=["none"],
        gss_host=None,
        keepalive_interval=interval,
        keepalive_count_max=count,
        # The dial has a limit of its own, which also covers name lookup and TCP.
        login_timeout=0,
        connect_timeout=None,
    )


def _host_key_algorithms(known: tuple[str, ...]) -> list[str]:
    """Those of the known keys first: a host that gains a key of another type is not a changed host."""
    first = [
        algorithm
        for algorithm in _HOST_KEY_ALGORITHMS
        if algorithm in known or (algorithm.startswith("rsa-sha2") and "ssh-rsa" in known)
    ]
    return first + [algorithm for algorithm in _HOST_KEY_ALGORITHMS if algorithm not in first]
