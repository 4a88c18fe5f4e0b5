"""`testum service`: testum as systemd services of this machine."""

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from testum.cli.failures import Failure, Unreachable, WrongUse
from testum.cli.service_units import DRAIN_SECONDS, NAMES, WEB, WORKER, Place, web_unit, worker_unit

service = typer.Typer(
    help="Run testum as services of this machine, with systemd.", no_args_is_help=True, rich_markup_mode=None
)

UNITS = Path("/etc/systemd/system")
SETTINGS_FILE = Path("/etc/testum/testum.env")
DATA_DIR = Path("/var/lib/testum")
USER = "testum"
_STARTING_SECONDS = 30.0
_HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - named to be refused
"""Where the services cannot see anything (ProtectHome, PrivateTmp)."""


class NotStarted(Failure):
    """A service is installed, but does not run."""


@service.command()
def install(
    web: Annotated[bool, typer.Option("--web/--no-web", help="The web server.")] = True,
    worker: Annotated[
        bool, typer.Option("--worker", help="A worker, which needs PostgreSQL and Redis.")
    ] = False,
    queue: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A network zone for the worker; may be given again."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=256, metavar="N", help="The worker's processes.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="The web server's address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="Its port.")] = 8000,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"Settings as in .env.example, to be kept in {SETTINGS_FILE}; else those there.",
        ),
    ] = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start now and with the machine.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the units and change nothing.")] = False,
) -> None:
    """Install testum as services; run again, it brings them up to date.

    They run as the system user testum, with their data in /var/lib/testum.
    """
    from testum.core.shards import is_zone

    worker = worker or bool(queue) or concurrency is not None
    if not web and not worker:
        raise WrongUse("--no-web: leaves nothing to install without --worker.")
    for name in queue or []:
        if not is_zone(name):
            raise WrongUse(f"--queue {name}: is no name of a network zone.")
    if not dry_run:
        _check_machine()
    text = _settings_text(settings)
    given = _parsed(text)
    if given.get("DATA_DIR", str(DATA_DIR)) != str(DATA_DIR):
        raise WrongUse(f"DATA_DIR: services have their data in {DATA_DIR}. Take it out of the settings.")
    place = Place(Path(sys.executable).with_name("testum"), SETTINGS_FILE, DATA_DIR, USER)
    units: dict[str, str] = {}
    if web:
        units[WEB] = web_unit(place, host, port, _drain_seconds(given))
    if worker:
        units[WORKER] = worker_unit(place, queue or [], concurrency, _drain_seconds(given))
    if dry_run:
        for name, unit in units.items():
            print(f"# {UNITS / name}\n{unit}")
        return
    if worker and not (given.get("DATABASE_URL") and given.get("CELERY_BROKER_URL")):
        raise WrongUse(
            "--worker: DATABASE_URL and CELERY_BROKER_URL must be in the settings. Write them into a file and name "
            f"it with --settings, or into {SETTINGS_FILE}."
        )
    _check_readable()
    _make_user()
    if _write(SETTINGS_FILE, text, 0o600):
        print(f"Wrote {SETTINGS_FILE}.")
        changed = set(units)
    else:
        changed = set()
    for name, unit in units.items():
        if _write(UNITS / name, unit, 0o644):
            print(f"Wrote {UNITS / name}.")
            changed.add(name)
    _systemctl("daemon-reload")
    if start:
        _start(units, changed, host, port)
        _tell_of_password(given)


@service.command()
def uninstall() -> None:
    """Stop the services and remove them. Data, settings and the user stay."""
    _check_machine()
    present = [name for name in NAMES if (UNITS / name).exists()]
    if not present:
        print("There are no services of testum.")
        return
    _systemctl("disable", "--now", *present)
    for name in present:
        (UNITS / name).unlink()
        print(f"Removed {UNITS / name}.")
    _systemctl("daemon-reload")
    print(f"What stays: the data in {DATA_DIR}, the settings in {SETTINGS_FILE}, the user {USER}.")


def _check_machine() -> None:
    """Raises WrongUse where there is no systemd to install into, or no right to."""
    # sd_booted(3): this folder is there if and only if systemd is the machine's first process.
    if not Path("/run/systemd/system").is_dir():
        raise WrongUse("systemd does not run on this machine. --dry-run prints the units for use elsewhere.")
    if os.geteuid() != 0:
        raise WrongUse("This needs root: use sudo.")


def _check_readable() -> None:
    """Raises WrongUse where the services could not run this testum."""
    import testum

    for what in (sys.prefix, sys.base_prefix, testum.__file__):
        path = Path(what).resolve()
        closed = [part for part in (path, *path.parents) if not part.stat().st_mode & 0o005]
        if closed or any(path.is_relative_to(hidden) for hidden in _HIDDEN):
            raise WrongUse(
                f"{path}: services cannot read it. Install testum where everybody may, for example:\n"
                "  python3 -m venv /opt/testum && /opt/testum/bin/pip install testum\n"
                "  /opt/testum/bin/testum service install"
            )


def _settings_text(given: Path | None) -> str:
    """The settings file to be: the given one, the present one, or a new one."""
    try:
        if given is not None:
            return given.read_text("utf-8")
        if SETTINGS_FILE.exists():
            return SETTINGS_FILE.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(
            f"{given or SETTINGS_FILE}: {getattr(error, 'strerror', None) or 'is not text'}."
        ) from None
    return (
        "# Settings of testum's services; .env.example has them all. After a change: systemctl restart 'testum-*'\n"
        "# The first account's password, if there is none yet.\n"
        f"ADMIN_PASSWORD={secrets.token_urlsafe(15)}\n"
    )


def _parsed(text: str) -> Mapping[str, str]:
    """The variables of a settings file, as far as they are looked at here."""
    found = re.findall(r"^[ \t]*([A-Z_]+)=(.*?)[ \t]*$", text, re.MULTILINE)
    return {name: value.strip("'\"") for name, value in found}


def _drain_seconds(given: Mapping[str, str]) -> float:
    text = given.get("WORKER_DRAIN_SECONDS", str(DRAIN_SECONDS))
    try:
        return max(0.0, float(text))
    except ValueError:
        raise WrongUse(f"WORKER_DRAIN_SECONDS: {text!r} is not a number.") from None


def _make_user() -> None:
    import pwd

    try:
        if pwd.getpwnam(USER).pw_uid == 0:
            raise WrongUse(f"The user {USER} is root here.")
    except KeyError:
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", str(DATA_DIR)]
        _run("useradd", *options, "--shell", "/usr/sbin/nologin", USER)
        print(f"Made the system user {USER}.")


def _write(path: Path, text: str, mode: int) -> bool:
    """Replace the file as a whole; whether that changed anything. Its mode is right from its first byte."""
    try:
        if path.read_text("utf-8") == text:
            path.chmod(mode)
            return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    temporary.replace(path)
    return True


def _start(units: Mapping[str, str], changed: set[str], host: str, port: int) -> None:
    """Start what does not run, and anew what has changed. Raises NotStarted."""
    for name in units:
        _systemctl("enable", "--quiet", name)
        _systemctl("restart" if name in changed else "start", name)
    if WEB in units:
        address = f"http://{_reachable(host)}:{port}"
        _wait_for(address)
        print(f"testum is at {address}.")
    for name in units:
        if _try("systemctl", "is-active", "--quiet", name).returncode != 0:
            raise _not_started(name)
        print(f"{name} runs.")


def _reachable(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - to say where it answers
    return f"[{host}]" if ":" in host else host


def _wait_for(address: str) -> None:
    """Wait until the server answers. Raises NotStarted, with what it said, when it does not or has failed."""
    from testum.cli.health import server_health

    deadline = time.monotonic() + _STARTING_SECONDS
    while True:
        try:
            server_health(address)
            return
        except Unreachable:
            restarts = _try("systemctl", "show", "--property=NRestarts", "--value", WEB).stdout.strip()
            if restarts not in ("", "0") or time.monotonic() > deadline:
                raise _not_started(WEB) from None
            time.sleep(0.2)


def _not_started(name: str) -> NotStarted:
    said = _try(
        "journalctl", "--unit", name, "--identifier", "testum", "--lines", "1", "--output", "cat"
    ).stdout
    reason = said.strip().removeprefix("testum: ")
    return NotStarted(f"{name} does not start: {reason}\nAll that it says: journalctl --unit {name}")


def _tell_of_password(given: Mapping[str, str]) -> None:
    if given.get("ADMIN_PASSWORD"):
        name = given.get("ADMIN_USERNAME") or "admin"
        print(f"The first account is {name}; its first password is ADMIN_PASSWORD in {SETTINGS_FILE}.")


def _systemctl(*arguments: str) -> None:
    _run("systemctl", *arguments)


def _run(program: str, *arguments: str) -> None:
    """Run a program of the system. Raises WrongUse with what it said, if it fails."""
    done = _try(program, *arguments)
    if done.returncode != 0:
        raise WrongUse(
            f"{program} {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}"
        )


def _try(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The programs are the system's own, and no shell reads the arguments.
    return subprocess.run([_program(program), *arguments], capture_output=True, text=True, check=False)  # noqa: S603


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise WrongUse(f"{name} is not installed.")
    return found
