"""Ending what a task left on a host, and looking whether it is gone.

One POSIX sh script does both, over a second channel or a fresh connection. It finds what bears the
task's marker (see program.py), and what belongs to that: descendants, and the session and group of its
leading shell. TERM first, KILL after the grace time; it says what is left.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from testum.ssh.endpoint import Endpoint, Timeouts
from testum.ssh.errors import SSHError
from testum.ssh.execution import Exit
from testum.ssh.patience import Patience
from testum.ssh.program import Script

if TYPE_CHECKING:
    from testum.ssh.pool import Pool

_SLACK = 2.0
_MAX_ANSWER = 64 * 1024
_EACH = 0.5
"""So many seconds more are given to the host for each program that is looked for."""


@dataclass(frozen=True, slots=True)
class Termination:
    """`confirmed`: a look at the host found nothing of the task any more. `unconfirmed`: `detail` says
    what is left, or why nobody could look. `signalled`: it was found, and ended by a signal."""

    state: Literal["confirmed", "unconfirmed"]
    detail: str
    signalled: bool = False


# Reads nothing but builtins, grep, cat and sleep. A process's own marker would be found in this script's
# processes too if it stood there as it is: the pattern is written with a bracket, which matches without
# being equal. Field numbers: proc_pid_stat(5); the command name, which may hold anything, ends at the
# last parenthesis.
_SCRIPT = r"""
LC_ALL=C; export LC_ALL; unset TESTUM_TASK
proc=@PROC@; grace=@GRACE@
[ -r "$proc/self/stat" ] && command -v grep >/dev/null 2>&1 || { echo "@TAG@ blind"; exit 0; }
now() { read -r up _ <"$proc/uptime"; up=${up%.*}${up#*.}; }
find_ours() {
  ours=" "
  for file in $(grep -ls -e "$pattern" "$proc"/[0-9]*/environ "$proc"/[0-9]*/cmdline 2>/dev/null); do
    pid=${file#"$proc"/}; pid=${pid%%/*}
    case $ours in *" $pid "*) ;; *) ours="$ours$pid " ;; esac
  done
  [ "$ours" = " " ] && [ "$known" = " " ] && return
  table=$(cat "$proc"/[0-9]*/stat 2>/dev/null)
  alive=" "; groups=" "; before=; live=" "
  sessions=" "
  while [ "$ours$sessions" != "$before" ]; do
    before=$ours$sessions
    live=" "; groups=" "
    while read -r line; do
      pid=${line%% *}; rest=${line##*) }
      set -- $rest
      case $1 in Z|X) continue ;; esac
      case $ours in
        *" $pid "*) ;;
        *)
          mine=
          case $ours in *" $2 "*|*" $3 "*|*" $4 "*) mine=1 ;; esac
          case $known in *" $4 "*) mine=1 ;; esac
          [ -n "$mine" ] || continue
          ours="$ours$pid " ;;
      esac
      live="$live$pid "
      case $ours in *" $3 "*) case $groups in *" $3 "*) ;; *) groups="$groups$3 " ;; esac ;; esac
      case $pid in "$4") case $known in *" $4 "*) ;; *) known="$known$4 " ;; esac ;; esac
    done <<TESTUM_TABLE
$table
TESTUM_TABLE
  done
  ours=$live
}
send() {
  for group in $groups; do kill -"$1" "-$group" 2>/dev/null; done
  for pid in $ours; do kill -"$1" "$pid" 2>/dev/null; done
}
seek() {
  tag=$1; pattern="[T]ESTUM_TASK=$2"; to_end=$3
  known=" "; ours=" "; groups=" "
  find_ours
  [ "$ours" = " " ] && { echo "$tag gone 0"; return; }
  [ "$to_end" = 1 ] || { echo "$tag runs$ours"; return; }
  now; started=$up; deadline=$((up + grace)); last=$((deadline + 100)); told=" "; signals=TERM
  while :; do
    now
    if [ "$up" -ge "$deadline" ]; then signals="TERM, KILL"; send KILL
    elif [ "$told" != "$ours" ]; then told=$ours; send TERM; send CONT
    fi
    sleep 0.1 2>/dev/null || sleep 1
    find_ours
    [ "$ours" = " " ] && { now; echo "$tag gone $((up - started)) $signals"; return; }
    now
    [ "$up" -ge "$last" ] && break
  done
  echo "$tag left$ours"
}
"""

_BOOT = """
boot=; read -r boot <"$proc/sys/kernel/random/boot_id" 2>/dev/null
echo "@TAG@ boot $boot"
"""
"""The number of the kernel's start (random(4)): nothing runs that ran under another."""


@dataclass(frozen=True, slots=True)
class Sought:
    """A program to be looked for on a host by its marker. `end`: what is found is ended."""

    marker: str
    end: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What was found on a host: of each of the programs that were looked for, in order. `boot_id` is the number of its
    kernel's start, where it has one."""

    of_each: Sequence[Termination]
    boot_id: str | None = None


async def terminate(
    pool: "Pool",
    endpoint: Endpoint,
    marker: str,
    *,
    grace: float,
    connect_timeout: float,
    begun: bool = True,
    proc: str = "/proc",
) -> Termination:
    """End all that bears `marker` on the host. See Pool.terminate. `proc`: where the host's proc(5) is."""
    tag = f"testum-{secrets.token_hex(8)}"
    limit = connect_timeout + grace + _SLACK
    script = _script([Sought(marker, end=True)], tag, grace, proc)
    answer = await _ask(pool, endpoint, script, connect_timeout, limit)
    return answer if isinstance(answer, Termination) else _verdict(answer, f"{tag}-0", tag, begun)


async def look(
    pool: "Pool",
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
    script = _script(sought, tag, grace, proc) + _BOOT.replace("@TAG@", tag)
    answer = await _ask(pool, endpoint, script, connect_timeout, limit)
    if isinstance(answer, Termination):
        return Found([answer] * len(sought))
    verdicts = [_verdict(answer, f"{tag}-{number}", tag, begun=True) for number in range(len(sought))]
    boot = re.search(rf"^{tag} boot ([0-9a-f-]{{1,64}})\r?$", answer, re.MULTILINE)
    return Found(verdicts, boot[1] if boot else None)


def _script(sought: Sequence[Sought], tag: str, grace: float, proc: str) -> str:
    for program in sought:
        if not re.fullmatch(r"[0-9a-zA-Z-]{8,64}", program.marker):
            raise ValueError("a marker is 8 to 64 letters, digits and dashes")
    calls = [
        f"( seek {tag}-{number} {program.marker} 1 ) &"
        if program.end
        else f"seek {tag}-{number} {program.marker} 0"
        for number, program in enumerate(sought)
    ]
    script = _SCRIPT.replace("@PROC@", proc).replace("@GRACE@", str(max(0, round(grace * 100))))
    return script.replace("@TAG@", tag) + "\n".join([*calls, "wait\n"])


async def _ask(
    pool: "Pool", endpoint: Endpoint, script: str, connect_timeout: float, limit: float
) -> str | Termination:
    """What the host answers, or why it does not."""
    try:
        async with Patience(limit + _SLACK):
            answer = await _run(pool, endpoint, script, Timeouts(connect=connect_timeout, total=limit))
    except SSHError as error:
        return Termination("unconfirmed", f"Nobody could look at the host: {error.message}")
    except TimeoutError:
        return Termination("unconfirmed", f"The host did not answer within {limit:g} seconds.")
    return answer.decode("utf-8", "replace")


async def _run(pool: "Pool", endpoint: Endpoint, script: str, timeouts: Timeouts) -> bytes:
    answer = bytearray()
    async with pool.run(endpoint, Script(script), marker="testum-look", timeouts=timeouts) as execution:
        async for event in execution:
            if isinstance(event, Exit):
                break
            if event.stream == "stdout" and not event.early and len(answer) < _MAX_ANSWER:
                answer += event.data
    return bytes(answer)


def _verdict(answer: str, tag: str, tag_of_all: str, begun: bool) -> Termination:
    for line in answer.splitlines():
        words = line.split()
        if words[:1] not in ([tag], [tag_of_all]):
            continue
        match words[1:]:
            case ["gone", "0"] if not begun:
                return Termination(
                    "unconfirmed",
                    "Looked at the host: nothing bears the task's mark. But the account's shell never said that it began "
                    "the program, and what it may have run instead cannot be found.",
                )
            case ["gone", "0"]:
                return Termination("confirmed", "Looked at the host: it had already ended.")
            case ["gone", hundredths, *signals] if hundredths.isdigit():
                sent = " ".join(signals) or "TERM"
                return Termination(
                    "confirmed",
                    f"Sent {sent}; looked at the host after {int(hundredths) / 100:g} seconds: it is gone.",
                    signalled=True,
                )
            case ["runs", *pids] if all(pid.isdigit() for pid in pids):
                return Termination(
                    "unconfirmed", f"Looked at the host: still running: processes {', '.join(pids[:20])}."
                )
            case ["left", *pids] if all(pid.isdigit() for pid in pids):
                return Termination(
                    "unconfirmed",
                    f"Still there after TERM and KILL: processes {', '.join(pids[:20])}. "
                    "They may belong to another user, or hang in the kernel.",
                )
            case ["blind"]:
                return Termination(
                    "unconfirmed",
                    "The host has no readable /proc, so that nobody could look for the processes.",
                )
    return Termination("unconfirmed", "The host gave no usable answer: it may have no POSIX shell.")
