"""The steps of an import: a host of the list held against the platform of its name, and the fields that come of it."""

from typing import Any

from testum.core.inventory import Draft
from testum.core.text import login_address
from testum.db.platforms import Platform
from testum.errors import InvalidInput
from testum.services.import_plans import Login, Step
from testum.services.import_ways import Names


def step_for(draft: Draft, present: Platform | None, names: Names, login: Login) -> Step:
    step = Step(draft.name, draft.line, "add", tags=draft.tags)
    username = draft.username or login.username
    step.address = login_address(username, draft.host, draft.port)
    if present is not None:
        step.changes = _differences(draft, present)
        step.kind = "change" if step.changes else "same"
        return step
    try:
        if draft.problem:
            raise InvalidInput(draft.problem)
        step.via = names.via(draft)
        new_fields(draft, login)
    except InvalidInput as error:
        step.kind, step.message = "problem", error.message
    return step


def _differences(draft: Draft, present: Platform) -> dict[str, tuple[str, str]]:
    """What the list says otherwise than what is stored. What it does not say stays, and so do credentials."""
    wanted = {
        "host": draft.host,
        "port": str(draft.port),
        "username": draft.username or present.username,
        "tags": " ".join(sorted({*present.tags, *draft.tags})),
        "description": draft.description or present.description,
    }
    stored = {
        "host": present.host,
        "port": str(present.port),
        "username": present.username,
        "tags": " ".join(present.tags),
        "description": present.description,
    }
    return {name: (stored[name], value) for name, value in wanted.items() if value != stored[name]}


def changed_fields(draft: Draft, step: Step, login: Login) -> dict[str, Any]:
    """The change of a platform that is there. Where it may lead elsewhere, the secrets that come with the list are those
    that go there: what is stored stays behind."""
    values: dict[str, Any] = {name: new for name, (_, new) in step.changes.items()}
    if {"host", "port", "username"} & values.keys():
        typed = {"password": draft.password or login.password, "private_key": draft.private_key}
        values |= {name: secret for name, secret in typed.items() if secret}
        if draft.private_key:
            values["passphrase"] = draft.passphrase or None
    if "port" in values:
        values["port"] = draft.port
    if "tags" in values:
        values["tags"] = values["tags"].split()
    return values


def new_fields(draft: Draft, login: Login) -> dict[str, Any]:
    """The new platform. Raises InvalidInput where it is not known how to log in."""
    values: dict[str, Any] = {
        "name": draft.name,
        "host": draft.host,
        "port": draft.port,
        "username": draft.username or login.username,
        "tags": list(draft.tags),
        "description": draft.description,
    }
    if not values["username"]:
        raise InvalidInput("it does not say whom to log in as; name a user with the list")
    method = draft.auth_method or ("password" if draft.password else "")
    password = draft.password or login.password
    both = method == "key_and_password"
    if not password and (both or method == "password"):
        raise InvalidInput("its password is missing; give one with the list")
    if both:
        values |= {"auth_method": method, "password": password}
    else:
        values["auth_method"] = "private_key"
    if draft.private_key and method != "password":
        return values | {"private_key": draft.private_key, "passphrase": draft.passphrase or None}
    if method == "password" or (not method and login.password and not login.key_id):
        return values | {"auth_method": "password", "password": password}
    if login.key_id is not None:
        return values | {"key_id": login.key_id}
    if draft.key_files:
        raise InvalidInput(
            f"its key {draft.key_files[0]} is on your machine; choose a kept key with the list"
        )
    raise InvalidInput(
        "it has neither a password nor a key; choose a kept key with the list, or give a password"
    )
