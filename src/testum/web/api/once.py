"""The header `Idempotency-Key` of requests that start a job: sent again, they start no second one."""

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Header, Request

from testum.core.idempotency import HEADER, MAX_KEY, Once, parse_key
from testum.services.once import Started
from testum.web.api import serializers
from testum.web.api.schemas.jobs import AcceptedOut
from testum.web.security import App, CurrentActor


async def _once(
    request: Request,
    app: App,
    _documented: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description=f"A text of your own, of up to {MAX_KEY} characters. Within 24 hours the same request with the "
            "same key gets the first answer and starts nothing; another request with it is refused.",
        ),
    ] = None,
) -> Once | None:
    key = parse_key(request.headers.getlist(HEADER))
    if key is None:
        return None
    # With a key, because what is asked for may hold a secret that a bare digest would let others guess.
    secret = app.settings.secret_key.get_secret_value().encode()
    asked = "\n".join(
        [request.method, request.url.path.replace("/api/v1/", "/api/", 1), await _body(request)]
    )
    return Once(key, hmac.new(secret, asked.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest())


async def _body(request: Request) -> str:
    """What the body says, however it is written: some clients write the same in another order the next time."""
    data = await request.body()
    try:
        return json.dumps(json.loads(data), sort_keys=True)
    except ValueError:
        # Its route refuses it, if it is not empty.
        return data.hex()


MayRepeat = Annotated[Once | None, Depends(_once)]
"""What a request that may be sent again is known by; None where it has no key."""


async def accept(
    app: App, actor: CurrentActor, once: Once | None, start: Callable[[], Awaitable[Started]]
) -> AcceptedOut:
    """Answer with the job that `start` starts, or with the one that the key has started."""
    first = await app.jobs.first(actor, once) if once is not None else None
    return serializers.accepted(first or await start())
