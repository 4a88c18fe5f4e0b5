"""SSH keys."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from testum.services.keys import NewKey
from testum.web.api import show
from testum.web.api.paging import LIST_HEADERS, PageQuery, Search, answer
from testum.web.api.responses import PROTECTED, problems
from testum.web.api.schemas.base import MessageOut
from testum.web.api.schemas.keys import KeyBody, KeyOut
from testum.web.security import App, CurrentActor

router = APIRouter(prefix="/keys", tags=["keys"])


@router.get("/", responses=PROTECTED | LIST_HEADERS, operation_id="listKeys")
async def list_keys(
    actor: CurrentActor,
    app: App,
    request: Request,
    response: Response,
    page: PageQuery,
    q: Search = None,
    name: Annotated[str | None, Query(max_length=200, description="The exact name.")] = None,
) -> list[KeyOut]:
    """The keys, by name."""
    return answer(request, response, await app.keys.find(actor, page, q=q, name=name), show.key)


@router.post("/", status_code=201, responses=PROTECTED | problems(409), operation_id="addKey")
async def add_key(body: KeyBody, actor: CurrentActor, app: App) -> KeyOut:
    """Keep a public key, with its private half where platforms are to log in with it."""
    new = NewKey(body.name, body.public_key, body.private_key, body.passphrase)
    return show.key(await app.keys.add(actor, new))


@router.get("/{key_id}", responses=PROTECTED | problems(404), operation_id="getKey")
async def get_key(key_id: UUID, actor: CurrentActor, app: App) -> KeyOut:
    """One key."""
    return show.key(await app.keys.get(actor, key_id))


@router.delete("/{key_id}", responses=PROTECTED | problems(404, 409), operation_id="deleteKey")
async def delete_key(key_id: UUID, actor: CurrentActor, app: App) -> MessageOut:
    """Forget a key. It stays on the platforms it was deployed to."""
    key = await app.keys.delete(actor, key_id)
    return MessageOut(message=f"The key {key.name} was deleted.")
