"""Reading a list of hosts that somebody has sent, and the tags that all of them get."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

from testum.core import lists
from testum.core.inventory import Inventory
from testum.errors import InvalidInput
from testum.services import separate_process

MAX_DRAFTS = 10_000
_SECONDS = 30.0
"""A list is read no longer."""


async def read(text: str, kind: str) -> Inventory:
    """The hosts in a list that somebody has sent, read in a process of its own: it may be large, or meant to do harm. `kind`:
    one of `lists.FORMATS`, or anything else for whatever it looks like. Raises InvalidInput."""
    # One more than may be shows that there are too many.
    asked = json.dumps({"text": text, "kind": kind, "most": MAX_DRAFTS + 1}).encode()
    try:
        answer = await separate_process.ask(lists.__name__, asked, seconds=_SECONDS)
        return await asyncio.to_thread(lists.from_json, answer)
    except (separate_process.Failed, ValueError):
        raise InvalidInput.field("text", "takes too much to read: split the list.") from None


def add_tags(inventory: Inventory, tags: Sequence[str]) -> None:
    """Put tags on all hosts of a list, beside those that it says."""
    inventory.drafts[:] = [
        replace(draft, tags=tuple(dict.fromkeys((*draft.tags, *tags)))) for draft in inventory.drafts
    ]
