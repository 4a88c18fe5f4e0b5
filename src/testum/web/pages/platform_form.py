"""The form of a platform: what it shows of a stored one, and what it sends, as the service takes it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from testum.db.paging import PageRequest
from testum.db.platforms import Platform
from testum.errors import Conflict, InvalidInput
from testum.services.keys import check_opens
from testum.web.pages.forms import SECRETS, Form, say_lost
from testum.web.pages.view import PageView

_TEXTS = ("name", "host", "port", "username", "login", "key_id", "jump", "tags", "zone")
_MORE = ("known_host_key", "host_key_policy", "shell", "old_algorithms", "description")
_USES = {
    "password": ("password",),
    "private_key": ("private_key", "passphrase"),
    "key": ("key_id",),
    "private_key_password": ("private_key", "passphrase", "password"),
    "key_password": ("key_id", "password"),
}
"""The fields of each way to log in."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What a form was begun on: the platform's `mark`, and when, in seconds since 1970."""

    revision: str
    moment: str

    @property
    def at(self) -> float:
        """The moment; 0 where the form does not say it."""
        try:
            return float(self.moment)
        except ValueError:
            return 0.0


def blank() -> dict[str, str]:
    """The form before anything is typed."""
    return {
        **dict.fromkeys((*_TEXTS, *_MORE), ""),
        "port": "22",
        "login": "password",
        "shell": "posix",
        "zone": "default",
    }


def typed(form: Form) -> dict[str, str]:
    """What was typed, but for secrets, which no page ever shows."""
    return {name: form.lines(name) for name in (*_TEXTS, *_MORE)}


def stored(platform: Platform, jump: str) -> dict[str, str]:
    """The form of a stored platform, which is reached through the one named `jump`."""
    return {
        "name": platform.name,
        "host": platform.host,
        "port": str(platform.port),
        "username": platform.username,
        "login": _login_of(platform),
        "key_id": str(platform.key_id or ""),
        "jump": jump,
        "tags": " ".join(platform.tags),
        "zone": platform.zone,
        "known_host_key": "\n".join(record.public_key for record in platform.host_keys[:1]),
        "host_key_policy": platform.host_key_policy or "",
        "shell": platform.shell,
        "old_algorithms": platform.old_algorithms,
        "description": platform.description,
    }


def _login_of(platform: Platform) -> str:
    """The choice of the form that stands for how a platform is logged in to."""
    if not platform.by_key:
        return "password"
    login = "key" if platform.key_id else "private_key"
    return f"{login}_password" if platform.by_password else login


async def jump_name(view: PageView, platform: Platform) -> str:
    """The name of the platform that this one is reached through; empty where there is none."""
    if platform.jump_platform_id is None:
        return ""
    return (await view.app.platforms.get(view.actor, platform.jump_platform_id)).name


async def _jump_id(view: PageView, name: str) -> UUID | None:
    """The platform of that name. Raises InvalidInput."""
    if not name:
        return None
    found = await view.app.platforms.find(view.actor, PageRequest(1, counted=False), name=name)
    if not found.items:
        raise InvalidInput.field("jump", "there is no such platform.")
    return found.items[0].id


async def values(view: PageView, form: Form) -> dict[str, Any]:
    """A new platform as the service takes it. Raises InvalidInput."""
    port = form.whole("port")
    sent: dict[str, Any] = {
        "name": form.text("name"),
        "host": form.text("host"),
        "port": 22 if port is None else port,
        "username": form.text("username"),
        "tags": form.words("tags"),
        "zone": form.text("zone") or "default",
        "description": form.lines("description").strip(),
        "shell": "plain" if form.text("shell") == "plain" else "posix",
        "old_algorithms": form.words("old_algorithms"),
        "host_key_policy": "strict" if form.text("host_key_policy") == "strict" else None,
        "jump_platform_id": await _jump_id(view, form.text("jump")),
    }
    if form.text("known_host_key"):
        sent["known_host_key"] = form.text("known_host_key")
    return sent | await _login(form)


async def _login(form: Form) -> dict[str, Any]:
    login = form.text("login")
    used = _USES.get(login, _USES["password"])
    if "private_key" in used:
        await check_opens(form.lines("private_key"), form.raw("passphrase"))
    given = {
        "password": form.raw("password") or None,
        "private_key": form.lines("private_key") or None,
        "passphrase": form.raw("passphrase") or None,
        "key_id": form.id("key_id") if "key_id" in used else None,
    }
    by_password = "password" in used
    by_key = len(used) > by_password
    method = "key_and_password" if by_key and by_password else "private_key" if by_key else "password"
    return {"auth_method": method, **{name: given[name] for name in used}}


async def changes(view: PageView, form: Form, platform: Platform) -> dict[str, Any]:
    """What the form changes: of secrets only what was typed, and what another way to log in makes void."""
    sent = await values(view, form)
    before = stored(platform, "")
    kept = _USES.get(before["login"], ())
    sent = {
        name: value
        for name, value in sent.items()
        # A key that is typed anew comes with its passphrase, or needs none.
        if value is not None
        or name not in kept
        or name not in SECRETS
        or (name == "passphrase" and sent.get("private_key") is not None)
    }
    if form.text("login") != before["login"]:
        used = _USES.get(form.text("login"), _USES["password"])
        void = {name: None for name in (*SECRETS, "key_id") if name not in used}
        sent = {**void, **sent}
    if form.text("known_host_key") == before["known_host_key"].strip():
        sent.pop("known_host_key", None)
    elif not form.text("known_host_key"):
        sent["known_host_key"] = None
    same = {
        "name": platform.name,
        "host": platform.host,
        "port": platform.port,
        "username": platform.username,
        "tags": platform.tags,
        "zone": platform.zone,
        "description": platform.description,
        "shell": platform.shell,
        "old_algorithms": platform.old_algorithms.split(),
        "host_key_policy": platform.host_key_policy,
        "jump_platform_id": platform.jump_platform_id,
        "auth_method": platform.auth_method,
        "key_id": platform.key_id,
    }
    return {name: value for name, value in sent.items() if name not in same or same[name] != value}


def refused(view: PageView, form: Form, error: InvalidInput | Conflict) -> dict[str, str]:
    """What is wrong with a form that is shown again."""
    return say_lost(view, form, problems(view, error))


def differences(form: Form, now: Platform, jump: str) -> dict[str, tuple[str, str]]:
    """The fields, by name, that say something else than what is stored now: as it is, and as it was typed."""
    written = typed(form)
    found = {name: (value, written[name]) for name, value in stored(now, jump).items()}
    if "key_id" not in _USES.get(form.text("login"), ()):
        # Not shown, and not sent.
        del found["key_id"]
    return {
        name: pair
        for name, pair in found.items()
        if (
            sorted(set(form.words("tags"))) != now.tags
            if name == "tags"
            else pair[0].strip() != pair[1].strip()
        )
    }


def problems(view: PageView, error: InvalidInput | Conflict) -> dict[str, str]:
    """What is wrong, by field; under an empty name what is wrong with the whole."""
    words = view.words
    if isinstance(error, Conflict):
        return {"name" if error.code == "name_taken" else "": words.message(error.message)}
    found = {
        item.field.replace("jump_platform_id", "jump"): words.message(item.message) for item in error.fields
    }
    return found or {"": words.message(error.message)}
