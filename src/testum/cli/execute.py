"""`testum exec`: start a job and watch it to its end."""

import fcntl
import math
import os
import struct
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from testum.cli.failures import INTERRUPTED, OK, SOME_FAILED, Refused, WrongUse
from testum.cli.options import Json, Url, print_json
from testum.cli.targets import Chosen, Everything, On, Selection, WithTag

if TYPE_CHECKING:
    from testum.cli.api import Api

_TARGETS = ("on", "tag", "everything", "selection")


class ExecCommand(TyperCommand):
    """Its options end at the command's first word, as those of ssh, env and docker do: what follows is the command's own. A
    command that is quoted, one word, may also stand before them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        ctx.allow_interspersed_args = False
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        if given.get("command") and not any(given.get(name) for name in _TARGETS):
            ctx.allow_interspersed_args = True
            given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            ctx.allow_interspersed_args = len(given["command"]) == 1
        return super().parse_args(ctx, args)


Group = Annotated[bool, typer.Option("--group", "-b", help="Show the same output once, under all names.")]


def execute(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="The command; with --script, the script's arguments."),
    ] = None,
    on: On = None,
    tag: WithTag = None,
    everything: Everything = False,
    selection: Selection = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, metavar="SECONDS", help="Time limit of each task.")
    ] = None,
    idle_timeout: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="SECONDS", help="End a task that prints nothing for so long."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Tasks that run at once.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VALUE]",
            help="Set a variable there; without a value, the one it has here. May be repeated.",
        ),
    ] = None,
    script: Annotated[
        str | None, typer.Option(metavar="FILE", help="Run this file's text; - reads it from stdin.")
    ] = None,
    interpreter: Annotated[
        str | None,
        typer.Option(
            metavar="PROGRAM", help="What runs the script or the command's text.  [default: #! line, /bin/sh]"
        ),
    ] = None,
    group: Group = False,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Run a command on many platforms.

    The output is shown as it comes, each line after its platform's name.

    Options come before the command and end at its first word: testum exec --all ls -la

    --tag narrows what --on or --all names. Ctrl-C cancels the job, a second one leaves at once.
    Exit status: 0 all succeeded, 1 some did not, 2 wrong use, 3 the server refused, 130 interrupted.
    """
    chosen = Chosen(on, tag, everything, selection)
    body: dict[str, Any] = {}
    if script is None and not command:
        raise WrongUse("What is to run? Give a command, or a --script.")
    if script is not None:
        body |= {"type": "run_script", "script": _script(script, interpreter, command or [])}
    else:
        # Several words are joined as ssh and clush do.
        text = _text_of(" ".join(command or []))
        body |= (
            {"type": "run_command", "command": text}
            if interpreter is None
            else {"type": "run_script", "script": {"text": text, "interpreter": interpreter}}
        )
    for name, seconds in (("timeout", timeout), ("idle_timeout", idle_timeout)):
        if seconds is not None:
            if not math.isfinite(seconds):
                raise WrongUse(f"--{name.replace('_', '-')}: a number of seconds, please.")
            body[name] = int(seconds) if seconds == int(seconds) else seconds
    if concurrency is not None:
        body["concurrency"] = concurrency
    if env:
        body["environment"] = dict(_variable(text) for text in env)
    if _has_input():
        raise WrongUse(
            "The command would get nothing of what is piped to testum. Give it as --script -, copy it to the hosts before, "
            "or add </dev/null."
        )
    from testum.cli.api import Api

    with Api(url) as api:
        body["targets"] = chosen.targets(api)
        status = run_and_watch(api, body, group=group, as_json=as_json)
    if _has_input():
        raise WrongUse("The command got nothing of what was piped to testum meanwhile.")
    raise typer.Exit(status)


def run_and_watch(
    api: "Api", body: dict[str, Any] | None, *, job_id: str = "", group: bool = False, as_json: bool = False
) -> int:
    """Start the job that `body` describes, or take up the one with `job_id`; returns the exit status.

    Raises WrongUse if no platform matches; otherwise what the API's calls raise.
    """
    from testum.cli.gather import Gatherer
    from testum.cli.interrupt import Interrupt
    from testum.cli.screen import OutputClosed, Screen
    from testum.cli.summary import summary, unfinished
    from testum.cli.watch import Watcher

    watcher: Watcher | None = None

    def last_words() -> str:
        if watcher is None:
            return "The server has not answered; a job may have been started: testum jobs list"
        names = unfinished(watcher.tasks.values())
        return f"Not finished: {names or 'unknown'}. Job: testum jobs show {watcher.job_id}"

    def still_runs() -> str:
        return f"The job goes on. To stop it: testum jobs cancel {job_id}"

    screen = Screen()
    with Interrupt(still_runs if body is None else last_words, at_once=body is None) as interrupt:
        job = _start(api, body) if body is not None else api.get(f"/jobs/{job_id}")
        watcher = Watcher(
            api, job, screen, interrupt,
            show_lines=not as_json and not group,
            gatherer=Gatherer() if group and not as_json else None,
        )  # fmt: skip
        try:
            watcher.run()
        except OutputClosed:
            # Whoever read the output has gone, or the disk it goes to is full: as with ssh, that ends it.
            if body is not None:
                watcher.cancel()
            raise
        finally:
            lines = summary(watcher.tasks.values(), watcher.total, time.monotonic() - watcher.started)
            good = watcher.status == "success"
            lines[0] += "." if good else f"; testum jobs show {watcher.job_id}"
            screen.say("\n".join(lines))
        if as_json:
            tasks = list(api.pages("/tasks/", job_id=watcher.job_id))
            print_json({"job": api.get(f"/jobs/{watcher.job_id}"), "tasks": tasks})
        if interrupt.requested:
            return INTERRUPTED
    return OK if good else SOME_FAILED


def _start(api: "Api", body: dict[str, Any]) -> dict[str, Any]:
    try:
        job: dict[str, Any] = api.post_once("/jobs/", body)
    except Refused as refusal:
        if refusal.code == "no_targets":
            raise WrongUse(refusal.message) from None
        raise
    return job | {"id": job.get("id") or job["job_id"]}


def _variable(text: str) -> tuple[str, str]:
    """A variable for the hosts and its value; without one, that of our own."""
    name, given, value = text.partition("=")
    if given:
        return name, value
    if name not in os.environ:
        raise WrongUse(f"--env {name}: has no value here. Write {name}=VALUE.")
    return name, os.environ[name]


def _has_input() -> bool:
    """Whether something was piped to us and not read (ioctl_tty(2), FIONREAD; it counts for files and sockets as well)."""
    if os.isatty(0):
        return False
    try:
        answer = fcntl.ioctl(0, termios.FIONREAD, struct.pack("i", 0))
    except OSError:
        # No such thing: /dev/null, for one.
        return False
    return bool(struct.unpack("i", answer)[0])


def _text_of(command: str) -> str:
    try:
        command.encode()
    except UnicodeEncodeError:
        raise WrongUse("The command is not text in UTF-8.") from None
    if not command.strip():
        raise WrongUse("The command is empty.")
    return command


def _script(path: str, interpreter: str | None, arguments: list[str]) -> dict[str, Any]:
    from testum.core.script_text import for_shell

    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise WrongUse(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongUse(f"{path}: not text in UTF-8.") from None
    spec: dict[str, Any] = {"text": text, "arguments": arguments}
    first = text.removeprefix("\ufeff").partition("\n")[0]
    if interpreter is None and first.startswith("#!"):
        interpreter = first[2:].strip()
    if interpreter:
        spec["interpreter"] = interpreter
    if for_shell(text, interpreter or "/bin/sh") != text:
        print(
            f"testum: {path}: its lines end in CR LF, or it has a byte order mark: it is sent with LF, and without it.",
            file=sys.stderr,
        )
    return spec
