"""Bringing in a list of hosts."""

import asyncio
from collections.abc import Sequence
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

from testum.core.hops import add_hops, hop_draft
from testum.core.inventory import Draft, Inventory, Problem
from testum.core.permissions import PLATFORMS_WRITE
from testum.errors import InvalidInput
from testum.services.import_lists import add_tags, read
from testum.services.import_plans import Login
from testum.web.api import serializers
from testum.web.api.responses import PROTECTED
from testum.web.api.schemas.imports import HostBody, ImportBody, KeyOfHosts, PlanOut
from testum.web.security import App, CurrentActor

router = APIRouter(prefix="/platforms", tags=["platforms"])


@router.post("/import", responses=PROTECTED, response_model=PlanOut, operation_id="importPlatforms")
async def import_platforms(body: ImportBody, actor: CurrentActor, app: App) -> Response:
    """Add the hosts of a list: a CSV table, an OpenSSH client configuration, an Ansible inventory, or rows. Each host for
    itself: one that cannot be added costs only itself. Hosts that are there already stay as they are, unless `update`.
    Nothing that the list names on the server is opened."""
    await app.gate.check(actor, PLATFORMS_WRITE, "platform.import", "platform")
    inventory = await _read(body)
    login = Login(body.username, body.key_id, body.password)
    if body.dry_run:
        plan = await app.imports.plan(actor, inventory, login)
    else:
        plan = await app.imports.apply(actor, inventory, login, update=body.update)
    # Thousands of steps: others have their turn while they are written.
    shown = await asyncio.to_thread(lambda: serializers.plan(plan, dry_run=body.dry_run).model_dump_json())
    return Response(shown, media_type="application/json")


@router.api_route("/import", methods=["GET", "PUT", "PATCH", "DELETE"], include_in_schema=False)
async def not_a_platform() -> None:
    """Else this would be the address of a platform whose id is no id."""
    raise HTTPException(405)


async def _read(body: ImportBody) -> Inventory:
    """Raises InvalidInput."""
    if (body.text is None) == (body.hosts is None):
        raise InvalidInput.field("text", "is needed, or hosts, and not both.")
    if body.text is not None:
        found = await read(body.text, body.format)
    else:
        if body.dry_run:
            kept_back = KeyOfHosts(private_key=_stand_in())
            keys = {name: key if key.private_key else kept_back for name, key in body.keys.items()}
        else:
            keys = body.keys
        # Thousands of rows: others have their turn meanwhile.
        found = await asyncio.to_thread(_of_rows, body.hosts or [], keys)
    add_tags(found, body.tags)
    return found


@cache
def _stand_in() -> str:
    """A private key that is nobody's: it stands for those that are kept back where nothing is done yet."""
    made = Ed25519PrivateKey.generate()
    return made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _of_rows(hosts: Sequence[HostBody], keys: dict[str, KeyOfHosts]) -> Inventory:
    found = Inventory()
    for host in hosts:
        key = keys.get(host.key)
        if host.key and (key is None or not key.private_key):
            found.problems.append(Problem(host.line, f"there is no key {host.key} with the list", host.name))
            continue
        found.add(
            Draft(
                name=host.name,
                host=host.host or host.name,
                line=host.line,
                port=host.port,
                username=host.username,
                auth_method=host.auth_method,
                password=host.password,
                private_key=key.private_key if key else host.private_key,
                passphrase=key.passphrase if key else host.passphrase,
                tags=tuple(host.tags),
                description=host.description,
                jumps=tuple(host.jumps),
                hop=host.hop,
                problem=host.problem,
            )
        )
    add_hops(found, hop_draft)
    return found
