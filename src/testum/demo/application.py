"""The normal application, with the demo hosts running while it runs."""

import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from pydantic import SecretStr

from testum.app import Testum
from testum.core.permissions import Actor, Role
from testum.db.paging import PageRequest
from testum.db.platforms import Platform
from testum.demo.hosts import TAG, USERNAME, DemoHost, DemoHosts
from testum.installed import INSTALLED
from testum.services.passwords import make_up
from testum.settings import Settings, load_settings
from testum.web.factory import build, show_password

_DESCRIPTION = "A demo host: runs on this machine while `testum demo` does."
_ACTOR = Actor(id=UUID(int=0), username="demo", role=Role.ADMIN)
"""In the audit log: no account, but the demo itself."""


def create_app() -> FastAPI:
    """The application, configured from the environment, whose lifespan holds the demo hosts."""
    settings = load_settings()
    again = (settings.data_dir / "testum.db").exists()
    made_up = "" if again or settings.admin_password.get_secret_value() else make_up()
    if made_up:
        # Elsewhere a password that was printed must be changed: what runs here is thrown away.
        settings = settings.model_copy(update={"admin_password": SecretStr(made_up)})
    hosts = DemoHosts(settings.data_dir / "demo")

    async def started(testum: Testum) -> None:
        # Not before: by now the data directory is locked, and no other demo uses it.
        names = await add_hosts(testum, await hosts.start())
        if made_up and testum.first_admin is not None:
            show_password(made_up)
        if again:
            print(_reminder(settings), flush=True)  # noqa: T201 - for the person at the terminal
        print(_greeting(names, settings.admin_username), flush=True)  # noqa: T201 - for the person at the terminal

    app = build(settings, INSTALLED, started=started)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        try:
            async with inner(app) as state:
                yield state
        finally:
            # Last: closing the application ends running tasks on their hosts, and looks whether it did.
            await hosts.stop()

    app.router.lifespan_context = lifespan
    return app


async def add_hosts(testum: Testum, hosts: list[DemoHost]) -> list[str]:
    """Add the demo hosts as platforms, or tell those of an earlier start the new port and keys.

    The names of the platforms that now lead to demo hosts are returned. A platform that only happens to
    have a demo host's name is somebody's own and left alone.
    """
    ready = []
    for host in hosts:
        reach = {
            "host": host.host,
            "port": host.port,
            "private_key": host.private_key,
            "known_host_key": host.host_key,
        }
        there = await _find(testum, host.name)
        if there is None:
            new = {
                "name": host.name,
                "username": host.username,
                "auth_method": "private_key",
                "tags": list(host.tags),
                "description": _DESCRIPTION,
            }
            await testum.platforms.add(_ACTOR, new | reach)
        elif _is_demo(there, host):
            await testum.platforms.change(_ACTOR, there.id, reach)
        else:
            continue
        ready.append(host.name)
    return ready


async def _find(testum: Testum, name: str) -> Platform | None:
    page = await testum.platforms.find(_ACTOR, PageRequest(limit=1), name=name)
    return page.items[0] if page.items else None


def _is_demo(platform: Platform, host: DemoHost) -> bool:
    return (
        platform.created_by == _ACTOR.username
        and platform.host == host.host
        and platform.username == USERNAME
        and platform.auth_method == "private_key"
    )


def _greeting(names: list[str], admin: str) -> str:
    testum = shlex.quote(_command())
    return "\n".join(
        [
            f"Demo hosts, with the tag {TAG}: {', '.join(names)}.",
            "Try, in another terminal (with --url and the address below if the port is not 8000):",
            f"  {testum} login --username {shlex.quote(admin)}",
            f"  {testum} exec --all uname -a",
            f"  {testum} exec -b --tag web df -h /",
        ]
    )


def _reminder(settings: Settings) -> str:
    """How to log in to a demo that was there before."""
    where, admin = shlex.quote(str(settings.data_dir)), shlex.quote(settings.admin_username)
    return (
        "This demo was started before: log in with the password that was shown then. If it is lost: "
        f"DATA_DIR={where} {shlex.quote(_command())} users reset-password {admin}"
    )


def _command() -> str:
    """How to type `testum` here: by its path if the shell would not find it."""
    if shutil.which("testum"):
        return "testum"
    beside = Path(sys.executable).with_name("testum")
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return str(beside)
