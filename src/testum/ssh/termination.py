"""Ending what a task left on a host, and looking whether it is gone.

One POSIX sh script does both, over a second channel or a fresh connection. It finds what bears the
task's marker (see program.py), and what belongs to that: descendants, and the session and group of its
leading shell. What it found once stays the task's by process id and start, whatever becomes of its mark and its parents. TERM
first, KILL after the grace time; it says what is left.

A look proves itself: it has to see its own process, or it says that it is blind.

What left both session and environment (`env -i setsid -f`) bears nothing to find it by, and is a child of the host's first
process. It is not ended, because others' daemons are so too; but where one of this account began since the program was
sent, nothing is confirmed. See docs/decisions/0027.
"""

import math
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from testum.ssh import process_script
from testum.ssh.endpoint import Endpoint, Timeouts
from testum.ssh.errors import SSHError
from testum.ssh.execution import Execution, Exit, Shell
from testum.ssh.program import Program, Script
from testum.ssh.time_limits import TimeLimit

_SLACK = 2.0
_MAX_ANSWER = 64 * 1024
_EACH = 1.0
"""So many seconds more are given to the host for each program that is looked for."""
_TICK = 0.02
"""What the host's clock of processes is coarse by, in seconds."""
_MOST_STRAYS = 100
_MOST_LEFT = 100
_NAMED = re.compile(r"[0-9]{1,10}:[0-9]{1,20}")
_LOOKED = "No process bears its mark, descends from one that did or is in its session."


@dataclass(frozen=True, slots=True)
class Termination:
    """`confirmed`: a look at the host found nothing of the task any more, and nothing that may be of it. `unconfirmed`:
    `detail` says what is left, what may be of it, or why nobody could look. `signalled`: it was found, and ended by a
    signal. `strays` names the processes that may be of it, `left` those of it that live, each as `pid:start`, with
    starttime of proc_pid_stat(5). `never_ran`: the host says that nothing of it was run."""

    state: Literal["confirmed", "unconfirmed"]
    detail: str
    signalled: bool = False
    strays: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    never_ran: bool = False


@dataclass(frozen=True, slots=True)
class Sought:
    """A program to be looked for on a host by its marker. `end`: what is found is ended. `strays`: see Termination; they
    bear no mark. `since` is how many seconds ago at most such a process began, where none is known, or one that is known has
    ended, which may have begun others; None: none is looked for. `attempt` names the one that sent it (see Progress): what says that this one ran nothing is looked
    for, too. `begun`: whether the program has proven that it began; if not, what may run in its place is looked for, too.
    `left`: see Termination. `shell`: who began it, as its pid and for how many seconds at least it has lived."""

    marker: str
    end: bool
    strays: tuple[str, ...] = ()
    since: float | None = None
    attempt: str = ""
    begun: bool = True
    left: tuple[str, ...] = ()
    shell: tuple[int, float] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What was found on a host: of each of the programs that were looked for, in order. `boot_id` is the number of its
    kernel's start, where it has one."""

    of_each: Sequence[Termination]
    boot_id: str | None = None


class Runner(Protocol):
    """What runs a program on a host."""

    def run(
        self, endpoint: Endpoint, program: Program, *, marker: str, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[Execution]:
        """See Pool.run."""


async def terminate(
    runner: Runner,
    endpoint: Endpoint,
    marker: str,
    *,
    grace: float,
    connect_timeout: float,
    begun: bool = True,
    sent_at: float | None = None,
    attempt: str = "",
    shell: Shell | None = None,
    proc: str = "/proc",
) -> Termination:
    """End all that bears `marker` on the host. See Pool.terminate. `proc`: where the host's proc(5) is."""
    tag = f"testum-{secrets.token_hex(8)}"
    limit = connect_timeout + grace + _SLACK
    now = time.monotonic()
    since = None if sent_at is None else now - sent_at + limit
    sought = Sought(
        marker,
        end=True,
        since=since,
        attempt=attempt,
        shell=None if shell is None else (shell.pid, now - shell.by),
    )
    script = _script([sought], tag, grace, proc)
    answer = await _ask(runner, endpoint, script, connect_timeout, limit)
    if isinstance(answer, Termination):
        return answer
    return _verdict(answer, f"{tag}-0", tag, begun, math.inf if sent_at is None else sent_at)


async def look(
    runner: Runner,
    endpoint: Endpoint,
    sought: Sequence[Sought],
    *,
    grace: float,
    connect_timeout: float,
    proc: str = "/proc",
) -> Found:
    """Look once for many programs, and end those that are to be ended, side by side. See Pool.look."""
    tag = f"testum-{secrets.token_hex(8)}"
    limit = connect_timeout + grace + _SLACK + _EACH * len(sought)
    script = _script(sought, tag, grace, proc) + process_script.BOOT.replace("@TAG@", tag)
    answer = await _ask(runner, endpoint, script, connect_timeout, limit)
    if isinstance(answer, Termination):
        return Found([replace(answer, strays=program.strays, left=program.left) for program in sought])
    verdicts = [
        _verdict(answer, f"{tag}-{number}", tag, begun=True, sent_at=-math.inf)
        for number in range(len(sought))
    ]
    boot = re.search(rf"{tag} boot ([0-9a-f-]{{1,64}})\r?$", answer, re.MULTILINE)
    return Found(verdicts, boot[1] if boot else None)


def _script(sought: Sequence[Sought], tag: str, grace: float, proc: str) -> str:
    calls = []
    for number, program in enumerate(sought):
        if not re.fullmatch(r"[0-9a-zA-Z-]{8,64}", program.marker):
            raise ValueError("a marker is 8 to 64 letters, digits and dashes")
        strays, left = (" ".join(filter(_NAMED.fullmatch, names)) for names in (program.strays, program.left))
        oldest = "" if program.since is None else str(round(program.since * 100))
        attempt = program.attempt if program.attempt.isdigit() else ""
        pid, lived = program.shell or ("", 0.0)
        least = round((lived - _TICK) * 100)
        call = (
            f"seek {tag}-{number} {program.marker} {program.end:d} '{strays}' '{oldest}' '{attempt}' '{left}' "
            f"'{pid}' {least} '{'' if program.begun else 1}'"
        )
        calls.append(f"( {call} ) &" if program.end else call)
    script = (
        process_script.SCRIPT.replace("@PROC@", proc)
        .replace("@GRACE@", str(max(0, round(grace * 100))))
        .replace("@TAG@", tag)
    )
    return script + "\n".join([*calls, "wait\n"])


async def _ask(
    runner: Runner, endpoint: Endpoint, script: str, connect_timeout: float, limit: float
) -> str | Termination:
    """What the host answers, or why it does not."""
    try:
        async with TimeLimit(limit + _SLACK):
            answer = await _run(runner, endpoint, script, Timeouts(connect=connect_timeout, total=limit))
    except SSHError as error:
        return Termination("unconfirmed", f"Nobody could look at the host: {error.message}")
    except TimeoutError:
        return Termination("unconfirmed", f"The host did not answer within {limit:g} seconds.")
    return answer.decode("utf-8", "replace")


async def _run(runner: Runner, endpoint: Endpoint, script: str, timeouts: Timeouts) -> bytes:
    answer = bytearray()
    async with runner.run(endpoint, Script(script), marker="testum-look", timeouts=timeouts) as execution:
        async for event in execution:
            if isinstance(event, Exit):
                break
            if event.stream == execution.stdout and not event.early and len(answer) < _MAX_ANSWER:
                answer += event.data
    return bytes(answer)


def _pids(named: Sequence[str]) -> str:
    return ", ".join(name.partition(":")[0] for name in named[:20])


def _too_many(alike: dict[str, list[tuple[int, str]]]) -> list[str]:
    """Of processes that each login leaves, and that may bear the mark all the same, those that the program's own login has not
    left: it began before the program. By their kind, and with their ages."""
    return [
        name
        for kind, processes in alike.items()
        for _, name in sorted(processes, reverse=True)[int(kind.partition(":")[2]) :]
    ]


def _gone(told: str, strays: list[str], *, signalled: bool = False) -> Termination:
    if not strays:
        return Termination("confirmed", f"{told} {_LOOKED}", signalled)
    return Termination(
        "unconfirmed",
        f"{told} {_LOOKED} But processes of this account have begun since then that bear no mark and whose parent has "
        f"ended, or is the SSH server; they may be its and were left as they are: {_pids(strays)}.",
        signalled,
        tuple(strays[:_MOST_STRAYS]),
    )


def _verdict(answer: str, tag: str, tag_of_all: str, begun: bool, sent_at: float) -> Termination:
    strays: list[str] = []
    alike: dict[str, list[tuple[int, str]]] = {}
    now = time.monotonic()
    for line in answer.splitlines():
        # A start-up file may put something before each line.
        words = "".join(line.partition(tag_of_all)[1:]).split()
        if words[:1] not in ([tag], [tag_of_all]):
            continue
        match words[1:]:
            case ["stray", name, age] if _NAMED.fullmatch(name) and re.fullmatch(r"-?[0-9]{1,12}", age):
                # Its age is of before the answer came, so that it began at this time or before.
                if now - int(age) / 100 + _TICK >= sent_at and name not in strays:
                    strays.append(name)
            case ["alike", kind, name, age] if (
                _NAMED.fullmatch(kind) and _NAMED.fullmatch(name) and age.isdigit()
            ):
                # Of a look that does not know when the program was sent, they may be of any login since.
                if math.isfinite(sent_at) and now - int(age) / 100 + _TICK >= sent_at:
                    alike.setdefault(kind, []).append((int(age), name))
            case ["unrun"]:
                return Termination(
                    "confirmed",
                    "Looked at the host: its shell got no command before the connection ended, and ran nothing.",
                    never_ran=True,
                )
            case ["hidden"]:
                begun = False
            case ["gone", "0"] if not begun:
                return Termination(
                    "unconfirmed",
                    "Looked at the host: nothing bears the task's mark. But the account's shell never said that it began "
                    "the program, and what it may have run instead cannot be found.",
                )
            case ["gone", "0"]:
                return _gone("Looked at the host: it had already ended.", strays + _too_many(alike))
            case ["gone", hundredths, *signals] if hundredths.isdigit():
                sent = " ".join(signals) or "TERM"
                return _gone(
                    f"Sent {sent}; looked at the host after {int(hundredths) / 100:g} seconds: it is gone.",
                    strays + _too_many(alike),
                    signalled=True,
                )
            case ["runs", *named] if all(map(_NAMED.fullmatch, named)):
                return Termination(
                    "unconfirmed",
                    f"Looked at the host: still running: processes {_pids(named)}.",
                    left=tuple(named[:_MOST_LEFT]),
                )
            case ["left", *named] if all(map(_NAMED.fullmatch, named)):
                return Termination(
                    "unconfirmed",
                    f"Still there after TERM and KILL: processes {_pids(named)}. "
                    "They may belong to another user, or hang in the kernel.",
                    left=tuple(named[:_MOST_LEFT]),
                )
            case ["blind"]:
                return Termination(
                    "unconfirmed",
                    "Nobody could look for the processes: the host has no readable /proc, or grep and cat do not show there "
                    "what they should.",
                )
    return Termination("unconfirmed", "The host gave no usable answer: it may have no POSIX shell.")
