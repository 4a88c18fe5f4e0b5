"""The fields of a platform: what they may hold, and how its row takes them."""

import asyncio
import hashlib
import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from testum.core.algorithms import check_old_algorithms
from testum.core.secrets import Sealer
from testum.core.shards import DEFAULT_ZONE, is_zone
from testum.core.sshkeys import check_private_key, parse_public_key
from testum.core.targets import is_pattern
from testum.core.text import check_name, is_plain
from testum.db.base import new_id
from testum.db.platforms import HostKeyRecord, Platform, PlatformTag
from testum.errors import FieldProblem, InvalidInput, Problems

_MAX_TAGS = 50
_MAX_DESCRIPTION = 4000
_MAX_LABEL = 63
"""Characters between two dots (RFC 1035, section 2.3.4)."""
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?\Z")
_TAG = re.compile(r"[\w][\w.:/=@+-]{0,99}\Z")
_SECRETS = ("password", "private_key", "passphrase")
REACH = frozenset(
    {
        *("host", "port", "username", "auth_method", "key_id", "jump_platform_id", "known_host_key"),
        *("old_algorithms", *_SECRETS),
    }
)
"""Fields that say how a platform is reached: after a change to one its state is not known."""
NEW: Mapping[str, Any] = {
    "port": 22,
    "shell": "posix",
    "old_algorithms": [],
    "zone": DEFAULT_ZONE,
    "description": "",
    "tags": [],
}
"""What a new platform has where nothing else is given."""
_SHOWN = (
    "name",
    "host",
    "port",
    "username",
    "auth_method",
    "key_id",
    "jump_platform_id",
    "host_key_policy",
    "shell",
    "old_algorithms",
    "zone",
    "description",
)
FOR_A_HOST = frozenset({"known_host_key", *_SECRETS})
"""Fields whose values are given for one host."""
DRAFTED = REACH | {"zone", "host_key_policy"}
"""Fields that matter to whether a platform can be reached: a change to one gives it a new revision, which makes pooled
connections void."""
_WHERE = ("host", "port", "username", "jump_platform_id", "zone", "host_key_policy")
"""Fields by which another machine may be at the other end, or another account on it."""
RETYPE = "type it again: what is stored goes only to the host that it was stored for."


async def set_fields(
    sealer: Sealer, platform: Platform, values: Mapping[str, Any], *, checked: bool = False
) -> list[FieldProblem]:
    """Set the given fields; what is wrong with them is returned. `checked`: keys need no second look."""
    problems = Problems()
    for field, value in values.items():
        with problems.noted():
            if field == "private_key" and value and not checked:
                await asyncio.to_thread(check_private_key, value, values.get("passphrase") or None)
            _set(sealer, platform, field, value)
    return problems.found


def _set(sealer: Sealer, platform: Platform, field: str, value: Any) -> None:
    match field:
        case "name":
            platform.name = _check_name(value)
        case "host":
            platform.host = _check_host(value)
        case "port":
            if not 1 <= value <= 65535:
                raise InvalidInput.field("port", "must be from 1 to 65535.")
            platform.port = value
        case "username":
            platform.username = check_name(value, "username", longest=150)
        case "auth_method" | "host_key_policy" | "shell" | "key_id" | "jump_platform_id":
            setattr(platform, field, value)
        case "old_algorithms":
            platform.old_algorithms = " ".join(check_old_algorithms(value))
        case "password" | "private_key" | "passphrase":
            if value and "\0" in value:
                raise InvalidInput.field(field, "must not contain a NUL character.")
            sealed = sealer.seal(platform.id, field, value) if value else None
            setattr(platform, f"encrypted_{field}", sealed)
        case "zone":
            if not is_zone(value):
                raise InvalidInput.field(
                    "zone", "is up to 63 of a-z, 0-9 and . _ -, with a letter or digit at both ends."
                )
            platform.zone = value
        case "description":
            if len(value) > _MAX_DESCRIPTION or "\0" in value:
                raise InvalidInput.field(
                    "description", f"takes at most {_MAX_DESCRIPTION} characters, no NUL."
                )
            platform.description = value
        case "tags":
            kept = {row.tag: row for row in platform.tag_rows}
            platform.tag_rows = [kept.get(tag) or PlatformTag(tag=tag) for tag in check_tags(value)]
        case "known_host_key":
            _trust(platform, value)


def login_problems(platform: Platform) -> list[FieldProblem]:
    """What is missing or too much for the way it logs in."""
    if platform.auth_method is None:
        return []
    problems = []
    if platform.by_password and not platform.encrypted_password:
        problems.append(FieldProblem("password", "is needed to log in by password."))
    if platform.by_key:
        if platform.encrypted_private_key and platform.key_id:
            problems.append(FieldProblem("key_id", "give either key_id or private_key."))
        if not (platform.encrypted_private_key or platform.key_id):
            problems.append(FieldProblem("private_key", "is needed (or key_id) to log in by key."))
    return problems


def may_lead_elsewhere(before: Platform, after: Platform) -> bool:
    """Whether a stranger may be at the other end after a change: not where a key that was trusted before stays in force,
    which whoever answers there has to show. A key that is only named now has shown nothing yet, and the next change would
    take it for one that was trusted before."""
    known, trusted = _trusted(before), _trusted(after)
    return leads_elsewhere(before, after) and not (trusted and trusted <= known)


def leads_elsewhere(before: Platform, after: Platform) -> bool:
    """Whether another machine or account may be at the other end, or another key may prove it, after a change."""
    return _has_moved(before, after) or _trusted(before) != _trusted(after)


def _trusted(platform: Platform) -> set[str]:
    return {record.public_key for record in platform.host_keys}


def _has_moved(before: Platform, after: Platform) -> bool:
    return any(getattr(before, name) != getattr(after, name) for name in _WHERE)


def unprotected(before: Platform, after: Platform) -> list[str]:
    """The fields of stored secrets that stay in a change after which they may go to a stranger. A private key itself goes
    nowhere: where only another host key is trusted, it may stay."""
    if not may_lead_elsewhere(before, after):
        return []
    fields = ("password", "private_key") if _has_moved(before, after) else ("password",)
    sealed = [(field, f"encrypted_{field}") for field in fields]
    return [
        field
        for field, name in sealed
        if getattr(after, name) and getattr(after, name) == getattr(before, name)
    ]


def is_used(platform: Platform, field: str) -> bool:
    """Whether it logs in with the stored secret of this field."""
    return platform.by_password if field == "password" else platform.by_key and platform.key_id is None


def told(platform: Platform) -> dict[str, Any]:
    """What a platform has in each field, for the audit log: of host keys the fingerprints, of secrets what is sealed."""
    shown = {field: getattr(platform, field) for field in _SHOWN}
    return {
        **{field: str(value) if isinstance(value, UUID) else value for field, value in shown.items()},
        "tags": platform.tags,
        "known_host_key": [record.fingerprint for record in platform.host_keys],
        **{field: getattr(platform, f"encrypted_{field}") for field in _SECRETS},
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What a change has made of each field, of what `told` gave: `old` and `new`; of secrets only that they are set,
    changed or removed."""
    found: dict[str, Any] = {}
    for field, old in before.items():
        new = after[field]
        if old != new:
            secret = "set" if not old else "changed" if new else "removed"
            found[field] = secret if field in _SECRETS else {"old": old, "new": new}
    return found


def mark(platform: Platform) -> str:
    """A short text that is another one after every change that people make to a platform, its secrets included."""
    secrets = (platform.encrypted_password, platform.encrypted_private_key, platform.encrypted_passphrase)
    shown = (
        *(getattr(platform, field) for field in _SHOWN),
        platform.tags,
        [record.public_key for record in platform.host_keys],
    )
    return "-".join(hashlib.sha256(repr(part).encode()).hexdigest()[:16] for part in (shown, secrets))


def nothing_yet() -> Platform:
    """A platform of no session, of which only is known what a new one has."""
    return Platform(
        id=new_id(), port=NEW["port"], zone=NEW["zone"], old_algorithms="", host_keys=[], tag_rows=[]
    )


def copy_of(stored: Platform) -> Platform:
    """A platform in a row of no session, without its tags. Its id is the same, for which its secrets are sealed."""
    sealed = (f"encrypted_{field}" for field in _SECRETS)
    return Platform(
        **{field: getattr(stored, field) for field in ("id", *_SHOWN, *sealed)},
        tag_rows=[],
        host_keys=[
            HostKeyRecord(
                fingerprint=record.fingerprint, algorithm=record.algorithm, public_key=record.public_key
            )
            for record in stored.host_keys
        ],
    )


def _check_host(value: str) -> str:
    host = value.strip()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    # A link-local address may have its interface behind it (RFC 4007).
    address, percent, zone = host.partition("%")
    try:
        plain = str(ipaddress.IPv6Address(address) if percent else ipaddress.ip_address(host))
    except ValueError:
        plain = ""
    if plain and (not percent or (zone.isalnum() and zone.isascii())):
        return plain + percent + zone
    try:
        ascii_name = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        ascii_name = ""
    if len(ascii_name) > 253 or not _HOST_NAME.match(ascii_name) or ".." in ascii_name:
        raise InvalidInput.field("host", "must be a host name or an IP address.")
    if any(len(label) > _MAX_LABEL for label in ascii_name.split(".")):
        raise InvalidInput.field("host", f"each part of a host name has at most {_MAX_LABEL} characters.")
    return ascii_name


def _check_name(name: str) -> str:
    plain = check_name(name, "name")
    if is_pattern(plain) or "]" in plain or "," in plain:
        raise InvalidInput.field(
            "name", "must not contain * ? [ ] or a comma: they select platforms by name."
        )
    return plain


def check_tags(tags: list[str], field: str = "tags") -> list[str]:
    """The tags, in order and each once. Raises InvalidInput."""
    unique = list(dict.fromkeys(tag.strip() for tag in tags))
    if len(unique) > _MAX_TAGS:
        raise InvalidInput.field(field, f"at most {_MAX_TAGS}.")
    for tag in unique:
        if not _TAG.match(tag) or not is_plain(tag):
            raise InvalidInput.field(
                field, "a tag is up to 100 letters, digits and . : / = @ + - _, first a letter or digit."
            )
    return sorted(unique)


def _trust(platform: Platform, line: str | None) -> None:
    """Trust this host key and no other, or, with None, whatever the next first connection shows."""
    if line is None:
        platform.host_keys = []
        platform.known_host_fingerprint = None
        return
    key = parse_public_key(line, "known_host_key")
    kept = [record for record in platform.host_keys if record.fingerprint == key.fingerprint]
    platform.host_keys = kept or [
        HostKeyRecord(fingerprint=key.fingerprint, algorithm=key.algorithm, public_key=key.identity)
    ]
    platform.known_host_fingerprint = key.fingerprint
