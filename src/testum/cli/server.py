"""`testum serve`, `worker`, `demo`, `users`, `db`, `generate-key`: the commands of the machine that hosts testum."""

import gc
from typing import Annotated

import typer

from testum.cli.failures import WrongUse
from testum.errors import TestumError

users = typer.Typer(
    help="Look after accounts, on the server's machine.", no_args_is_help=True, rich_markup_mode=None
)
db = typer.Typer(help="Look after the database.", no_args_is_help=True, rich_markup_mode=None)

Host = Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0 takes any free port.")]


def serve(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the server."""
    _serve("testum.asgi:create_app", host, port)


def demo(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the server with six demo hosts on this machine."""
    _serve("testum.demo:create_app", host, port)


def _make_files_private() -> None:
    import os

    os.umask(0o077)


def _serve(application: str, host: str, port: int) -> None:
    _make_files_private()
    # What is imported stays: to look through it for garbage took a tenth of the start. The application has it looked
    # for again from when it is ready.
    gc.disable()
    import sys

    from testum import logs, memory

    memory.give_back()
    # FastAPI imports the old Pydantic, which is 3 MB, to ask of each type that it is not one of that, unless there is no
    # such module: None says so (the import system's manual, on sys.modules).
    sys.modules["pydantic.v1"] = None  # type: ignore[assignment]
    # First of all: it also says how structlog is imported.
    logs.configure()
    from testum.cli.webserver import run

    run(application, host, port)


def worker(
    queue: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A network zone to serve; may be given again.  [default: default]"),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=256, metavar="N", help="Processes.  [default: one for each CPU]")
    ] = None,
) -> None:
    """Run tasks for the servers that share this database and broker."""
    import os
    from importlib import import_module

    from testum import logs, memory
    from testum.settings import load_settings, misspelt

    _make_files_private()
    memory.give_back()
    logs.configure()
    try:
        settings = load_settings()
        for sentence in misspelt():
            typer.echo(sentence, err=True)
        if queue:
            settings.worker_queues = ",".join(queue)
        # What is imported stays, and its processes share it: nobody is to look through it for garbage.
        gc.disable()
        # By name, as the server's application: it stands above the command line.
        module = import_module("testum.worker")
        memory.look_for_garbage()
        status = module.run(settings, concurrency or settings.worker_processes or os.cpu_count() or 1)
    except TestumError as error:
        raise WrongUse(error.message) from None
    raise typer.Exit(status)


@users.command("reset-password")
def reset_password(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The account's name.")],
) -> None:
    """Give an account a new password, for who has lost it.

    Call it on the server's machine, with the server's environment or .env. The server may run. The password is shown once and
    must be changed at the next login; the account's other logins end.
    """
    import asyncio

    from testum.services.lost_password import reset_password as reset
    from testum.settings import read_settings

    _make_files_private()
    try:
        username, password = asyncio.run(reset(read_settings().effective_database_url, name))
    except TestumError as error:
        raise WrongUse(error.message) from None
    print(f"{username} logs in with this password, and must then choose another one: {password}")


@db.command()
def upgrade() -> None:
    """Bring the database's tables up to this version."""
    import asyncio

    from testum.db import soundness
    from testum.db.migrate import upgrade as upgrade_database
    from testum.settings import load_settings

    _make_files_private()
    try:
        settings = load_settings()
        soundness.check(settings.effective_database_url, settings.data_dir / "artifacts")
        revision = asyncio.run(upgrade_database(settings.effective_database_url))
    except TestumError as error:
        raise WrongUse(error.message) from None
    print(f"The database is at revision {revision}.")


@db.command("migrate-from")
def migrate_from(
    address: Annotated[
        str, typer.Argument(metavar="URL", help="The old database: sqlite:///PATH, or the file's path.")
    ],
) -> None:
    """Move an installation on SQLite into the database and artifacts that the settings name.

    The old server must be stopped. Its data is only read, and all of it is verified.
    """
    import asyncio
    from importlib import import_module

    from testum.cli.screen import Screen
    from testum.settings import load_settings

    screen = Screen()
    try:
        # By name, as the server's application: it stands above the command line.
        moved = asyncio.run(
            import_module("testum.migrate_from").move(load_settings(), address, screen.progress)
        )
    except TestumError as error:
        raise WrongUse(error.message) from None
    finally:
        screen.clear()
    if not moved.fresh:
        print("This installation was moved before, and both are still the same: nothing was done.")
        return
    print("Moved and verified, rows of each table:")
    for table, rows in moved.rows.items():
        print(f"  {table:<20}{rows:>12,}")
    print(f"and {moved.output_bytes:,} bytes of large outputs.")
    if moved.missing:
        print(f"The large outputs of {moved.missing} tasks were missing in the old installation.")
    print("Start the servers and workers now. The old data is as it was: keep it until you are content.")


def generate_key() -> None:
    """Print a new key for FERNET_KEY or SECRET_KEY."""
    from cryptography.fernet import Fernet

    print(Fernet.generate_key().decode())
