"""SSH keys."""

import datetime as dt
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from testum.web.api.schemas.base import Body, Name, Secret

_KEY_EXAMPLE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2 alice@laptop"


class KeyBody(Body):
    """A public key, and its private half where platforms are to log in with it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "alice@laptop", "public_key": _KEY_EXAMPLE}]},
    )
    name: Name
    public_key: Secret
    private_key: Secret | None = None
    passphrase: Secret | None = None


class KeyOut(BaseModel):
    """A kept key. Its private half is never shown."""

    id: UUID
    name: str
    public_key: str
    fingerprint: str
    algorithm: str
    has_private_key: bool
    created_by: str
    created_at: dt.datetime
