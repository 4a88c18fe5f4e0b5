"""The API of keys."""

import datetime as dt
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from testum.core.job_kinds import JobSpec
from testum.db.keys import SSHKey
from testum.features.keys.jobs import Deploy, KeyIds
from testum.services.keys import NewKey
from testum.web.api.once import MayRepeat, accept
from testum.web.api.paging import LIST_HEADERS, ExactName, PageQuery, Search, answer
from testum.web.api.responses import PROTECTED, problems
from testum.web.api.schemas.base import Body, MessageOut, Name, Secret
from testum.web.api.schemas.jobs import AcceptedOut
from testum.web.security import App, CurrentActor

keys = APIRouter(prefix="/keys", tags=["keys"])
deployment = APIRouter(prefix="/platforms", tags=["platforms"])

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

    @classmethod
    def of(cls, row: SSHKey) -> "KeyOut":
        """The answer for a row."""
        return cls(
            id=row.id,
            name=row.name,
            public_key=row.public_key,
            fingerprint=row.fingerprint,
            algorithm=row.algorithm,
            has_private_key=row.encrypted_private_key is not None,
            created_by=row.created_by,
            created_at=row.created_at,
        )


class DeployBody(Body):
    """Which keys to deploy; without key_ids all there are."""

    key_ids: KeyIds = None


@keys.get("/", responses=PROTECTED | LIST_HEADERS, operation_id="listKeys")
async def list_keys(
    actor: CurrentActor,
    app: App,
    request: Request,
    response: Response,
    page: PageQuery,
    q: Search = None,
    name: ExactName = None,
) -> list[KeyOut]:
    """The keys, by name."""
    return answer(request, response, await app.keys.find(actor, page, q=q, name=name), KeyOut.of)


@keys.post("/", status_code=201, responses=PROTECTED | problems(409), operation_id="addKey")
async def add_key(body: KeyBody, actor: CurrentActor, app: App) -> KeyOut:
    """Keep a public key, with its private half where platforms are to log in with it."""
    new = NewKey(body.name, body.public_key, body.private_key, body.passphrase)
    return KeyOut.of(await app.keys.add(actor, new))


@keys.get("/{key_id}", responses=PROTECTED | problems(404), operation_id="getKey")
async def get_key(key_id: UUID, actor: CurrentActor, app: App) -> KeyOut:
    """One key."""
    return KeyOut.of(await app.keys.get(actor, key_id))


@keys.delete("/{key_id}", responses=PROTECTED | problems(404, 409), operation_id="deleteKey")
async def delete_key(key_id: UUID, actor: CurrentActor, app: App) -> MessageOut:
    """Forget a key. It stays on the platforms it was deployed to."""
    key = await app.keys.delete(actor, key_id)
    return MessageOut(message=f"The key {key.name} was deleted.")


@deployment.post(
    "/{platform_id}/deploy_keys",
    status_code=202,
    responses=PROTECTED | problems(404, 503),
    operation_id="deployKeys",
)
async def deploy_keys(
    platform_id: UUID, actor: CurrentActor, app: App, once: MayRepeat, body: DeployBody | None = None
) -> AcceptedOut:
    """Put keys into this platform's `authorized_keys`, all that there are where none are named; what is there stays."""
    spec = JobSpec(Deploy(key_ids=body.key_ids if body is not None else None))
    return await accept(app, actor, once, lambda: app.jobs.start_on(actor, spec, platform_id, once=once))
