"""Requests that may be sent again: the header `Idempotency-Key`, as draft-ietf-httpapi-idempotency-key-header has it."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

from testum.errors import InvalidInput

HEADER = "Idempotency-Key"
MAX_KEY = 255
"""The most characters of a key."""
KEPT = dt.timedelta(hours=24)
"""For so long after its first answer, a key stands for that."""

_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[ !#-~][ -~]*")


@dataclass(frozen=True, slots=True)
class Once:
    """What a request that may be sent again is known by: its client's key, and a digest of what it asks for."""

    key: str
    fingerprint: str


def parse_key(values: Sequence[str]) -> str | None:
    """The key that a request's headers name; None where it has none.

    The draft makes it a string of RFC 8941, section 3.3.3, in double quotes; many clients leave them out, and mean the
    same. Raises InvalidInput where it is neither, is empty or too long, or where there are several.
    """
    if not values:
        return None
    value = values[0].strip(" \t")
    if quoted := _QUOTED.fullmatch(value):
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    else:
        key = value if _BARE.fullmatch(value) else ""
    if len(values) > 1 or not 1 <= len(key) <= MAX_KEY:
        raise InvalidInput.field(HEADER, f"must be one text of 1 to {MAX_KEY} printable ASCII characters.")
    return key
