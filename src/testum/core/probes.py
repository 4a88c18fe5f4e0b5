"""What is asked and answered when a connection is tried that no platform is stored for: a draft, and what came of it.

Both go as JSON to whoever does the trying, which may be another process.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal
from uuid import UUID

from testum.core.sshkeys import parse_public_key

KeyTrust = Literal["trusted", "new", "other"]
"""The key that a host showed is trusted; or nothing is trusted there yet; or another key is."""


@dataclass(frozen=True, slots=True)
class Draft:
    """How a host is to be reached, as somebody has typed it. Its secrets are sealed for `id`, so that what carries it
    sees none; `host_keys` are the public keys that the host is trusted by. `revision` is that of the platform whose stored
    secrets it has: where that has another one by now, they go nowhere."""

    id: UUID
    name: str
    host: str
    port: int
    username: str
    auth_method: str
    encrypted_password: str | None
    encrypted_private_key: str | None
    encrypted_passphrase: str | None
    key_id: UUID | None
    jump_platform_id: UUID | None
    host_key_policy: str | None
    host_keys: Sequence[str]
    old_algorithms: str = ""
    revision: int | None = None

    def to_json(self) -> str:
        """The draft as a message."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Draft":
        """The draft that a message holds."""
        fields: dict[str, Any] = json.loads(text)
        for name in ("id", "key_id", "jump_platform_id"):
            if fields[name] is not None:
                fields[name] = UUID(fields[name])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class ShownKey:
    """The host key that a host showed."""

    algorithm: str
    public_key: str
    fingerprint: str
    trust: KeyTrust

    @classmethod
    def of(cls, public_key: str, trusted: Sequence[str]) -> "ShownKey":
        """A key that was shown where the keys `trusted` are."""
        key = parse_public_key(public_key)
        trust: KeyTrust = "trusted" if key.identity in trusted else "other" if trusted else "new"
        return cls(key.algorithm, key.identity, key.fingerprint, trust)


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of a try. `error_code` is None where it logged in; then there are a time and a key."""

    latency_ms: float | None = None
    host_key: ShownKey | None = None
    server_version: str | None = None
    error_code: str | None = None
    error_message: str | None = None

    def to_json(self) -> str:
        """The answer as a message."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Probed":
        """The answer that a message holds."""
        fields: dict[str, Any] = json.loads(text)
        key = fields.pop("host_key")
        return cls(**fields, host_key=ShownKey(**key) if key else None)
