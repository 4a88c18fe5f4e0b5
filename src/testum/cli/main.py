"""The `testum` command: its tree of commands, and how errors become exit statuses.

Only what `--help` needs is imported here; each command imports what it works with.
"""

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from testum import __version__
from testum.cli import account, execute, server
from testum.cli.audit import audit
from testum.cli.failures import INTERRUPTED, OK, OUTPUT_CLOSED, WRONG_USE, Failure
from testum.cli.health import health
from testum.cli.jobs import jobs, tasks
from testum.cli.keys import keys
from testum.cli.platforms import platforms
from testum.cli.service import service
from testum.core.feature import Feature

app = typer.Typer(
    help="Run commands on any number of SSH hosts, without an agent.",
    no_args_is_help=True,
    # Without markup typer needs no rich, which takes longer to import than all the rest.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("exec", cls=execute.ExecCommand)(execute.execute)
app.add_typer(platforms, name="platforms")
app.add_typer(keys, name="keys")
app.add_typer(jobs, name="jobs")
app.add_typer(tasks, name="tasks")
app.command()(account.login)
app.command()(account.logout)
app.command()(account.whoami)
app.command()(account.passwd)
app.command()(server.serve)
app.command()(server.worker)
app.command()(server.demo)
app.command()(audit)
app.command()(health)
app.add_typer(server.users, name="users")
app.add_typer(server.db, name="db")
app.add_typer(service, name="service")
app.command("generate-key")(server.generate_key)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"testum {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(features: Iterable[Feature] = ()) -> None:
    """Run the command line, with the commands that these features add to it, and exit with its status."""
    _open_streams()
    for feature in features:
        for name, commands in feature.commands().items():
            app.add_typer(commands, name=name)
    if os.getpid() == 1:
        # The first process of a container: to it the kernel brings only the signals that it handles.
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        app()
    except Failure as failure:
        if failure.message:
            print(f"testum: {failure.message}", file=sys.stderr)
        _leave(failure.status)
    except KeyboardInterrupt:
        _leave(INTERRUPTED)
    except BrokenPipeError:
        _leave(OUTPUT_CLOSED)
    except OSError as error:
        print(f"testum: {error.strerror or error}", file=sys.stderr)
        _leave(WRONG_USE)
    except SystemExit as leaving:
        _leave(leaving.code if isinstance(leaving.code, int) else OK)


def _open_streams() -> None:
    """Give a stream that was closed when we were started a place to go to, and let none fail for a
    character that its encoding lacks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for good
        elif mode == "w":
            stream.reconfigure(errors="replace")


def _leave(status: int) -> None:
    """Exit. What is still buffered for a reader that has gone is dropped without a word."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError) and status == OK:
            print(f"testum: {error.strerror or error}", file=sys.stderr)
            status = WRONG_USE
    if "obstore" in sys.modules:
        # Its threads may ask for the interpreter's lock once more. Before 3.14 Python ends threads that do so while
        # it shuts down, and in Rust that aborts the process (PyO3/pyo3#4874).
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
