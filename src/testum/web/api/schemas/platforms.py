"""Platforms, and tries to connect to them."""

import datetime as dt
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from testum.core.states import PlatformState
from testum.web.api.schemas.base import Body, Name, Secret, Tags

Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
OldAlgorithms = Annotated[list[Annotated[str, StringConstraints(max_length=60)]], Field(max_length=20)]
Zone = Annotated[str, StringConstraints(min_length=1, max_length=63)]
AuthMethod = Annotated[
    Literal["password", "private_key", "key_and_password"],
    Field(
        description="`key_and_password`: for a host that asks for both in two steps. The password is given only after "
        "the key was accepted, or where the host does not ask for a key first."
    ),
]


class PlatformBody(Body):
    """A new platform."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "web-01",
                    "host": "192.0.2.10",
                    "username": "deploy",
                    "auth_method": "password",
                    "password": "correct horse",
                    "tags": ["web", "prod"],
                }
            ]
        },
    )
    name: Name
    host: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    port: Port = 22
    username: Annotated[str, StringConstraints(min_length=1, max_length=150)]
    auth_method: AuthMethod
    password: Secret | None = None
    private_key: Secret | None = None
    passphrase: Secret | None = None
    key_id: UUID | None = Field(default=None, description="A kept key to log in with.")
    jump_platform_id: UUID | None = Field(default=None, description="The platform to connect through.")
    known_host_key: Secret | None = Field(
        default=None, description="The host's public key, `ssh-ed25519 AAAA...`: trusted from the start."
    )
    host_key_policy: Literal["auto_add", "strict"] | None = Field(
        default=None, description="Stricter than the installation's policy, where wanted."
    )
    shell: Literal["posix", "plain"] = Field(
        default="posix",
        description="`plain` for hosts without a POSIX shell (network devices): commands go out as they are, "
        "and a cancel cannot be confirmed.",
    )
    old_algorithms: OldAlgorithms = Field(
        default=[],
        description="SSH algorithms of old that are allowed for this host, because it knows no better ones. Who listens may "
        "break them, and read what is sent: passwords, too.",
    )
    zone: Zone = Field(default="default", description="The network zone whose workers reach it.")
    description: Annotated[str, StringConstraints(max_length=4000)] = ""
    tags: Tags = Field(default=[])


class PlatformPatch(Body):
    """Changes to a platform: fields left out stay as they are."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"description": "The mail server", "tags": ["mail"]}]}
    )
    name: Name | None = None
    host: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    port: Port | None = None
    username: Annotated[str, StringConstraints(min_length=1, max_length=150)] | None = None
    auth_method: AuthMethod | None = None
    password: Secret | None = None
    private_key: Secret | None = None
    passphrase: Secret | None = None
    key_id: UUID | None = None
    jump_platform_id: UUID | None = None
    known_host_key: Secret | None = Field(
        default=None,
        description="Trust this host key from now on; null forgets what is trusted, so that the next "
        "connection counts as the first.",
    )
    host_key_policy: Literal["auto_add", "strict"] | None = None
    shell: Literal["posix", "plain"] | None = None
    old_algorithms: OldAlgorithms | None = None
    zone: Zone | None = None
    description: Annotated[str, StringConstraints(max_length=4000)] | None = None
    tags: Tags | None = None

    def changes(self) -> dict[str, Any]:
        """The fields that were sent. A null that could only break a field counts as not sent."""
        clearable = {
            "password", "private_key", "passphrase", "key_id", "jump_platform_id", "known_host_key",
            "host_key_policy",
        }  # fmt: skip
        sent = {name: getattr(self, name) for name in self.model_fields_set}
        return {name: value for name, value in sent.items() if value is not None or name in clearable}


class PlatformTestBody(PlatformPatch):
    """How a platform is to be reached that is not saved so. Fields that do not matter for that are passed over."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "host": "192.0.2.10",
                    "username": "deploy",
                    "auth_method": "password",
                    "password": "correct horse",
                }
            ]
        },
    )


class ShownKeyOut(BaseModel):
    """The host key that a host showed. `trust`: it is `trusted`; it is `new`, because none is trusted there yet; or
    `other` than the one that is."""

    algorithm: str
    public_key: str
    fingerprint: str
    trust: Literal["trusted", "new", "other"]


class PlatformTestOut(BaseModel):
    """What came of a try to connect and log in. Where it did not succeed, `error_code` says why as it does of tasks."""

    success: bool
    latency_ms: float | None = Field(description="Of connecting and logging in.")
    host_key: ShownKeyOut | None
    server_version: str | None
    error_code: str | None
    error_message: str | None


class PlatformOut(BaseModel):
    """A platform. A secret is never shown, only whether there is one."""

    id: UUID
    name: str
    host: str
    port: int
    username: str
    auth_method: str
    has_password: bool
    has_private_key: bool
    has_passphrase: bool
    key_id: UUID | None
    jump_platform_id: UUID | None
    known_host_fingerprint: str | None
    known_host_keys: list[str]
    host_key_policy: str | None
    shell: str
    old_algorithms: list[str]
    zone: str
    description: str
    tags: list[str]
    facts: dict[str, Any] | None
    facts_at: dt.datetime | None
    state: PlatformState
    state_at: dt.datetime | None
    created_by: str
    created_at: dt.datetime
    updated_at: dt.datetime
