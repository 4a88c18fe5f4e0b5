"""Ending what a task left on a host, and looking whether it is gone.

One POSIX sh script does both, over a second channel or a fresh connection. It finds what bears the
task's marker (see program.py), and what belongs to that: descendants, and the session and group of its
leading shell. TERM first, KILL after the grace time; it says what is left.

What left both session and environment (`env -i setsid -f`) bears nothing to find it by, and is a child of the host's first
process. It is not ended, because others' daemons are so too; but where one of this account began since the program was
sent, nothing is confirmed. See docs/decisions/0027.
"""

import math
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
_EACH = 1.0
"""So many seconds more are given to the host for each program that is looked for."""
_TICK = 0.02
"""What the host's clock of processes is coarse by, in seconds."""
_MOST_STRAYS = 100
_LOOKED = "No process bears its mark, descends from one that did or is in its session."


@dataclass(frozen=True, slots=True)
class Termination:
    """`confirmed`: a look at the host found nothing of the task any more, and nothing that may be of it. `unconfirmed`:
    `detail` says what is left, what may be of it, or why nobody could look. `signalled`: it was found, and ended by a
    signal. `strays` are the pids of what may be of it. `never_ran`: the host says that nothing of it was run."""

    state: Literal["confirmed", "unconfirmed"]
    detail: str
    signalled: bool = False
    strays: tuple[str, ...] = ()
    never_ran: bool = False


# Reads nothing but builtins, grep, cat and sleep. A process's own marker would be found in this script's
# processes too if it stood there as it is: the pattern is written with a bracket, which matches without
# being equal. Field numbers: proc_pid_stat(5); the command name, which may hold anything, ends at the
# last parenthesis.
_SCRIPT = r"""
LC_ALL=C; export LC_ALL; unset TESTUM_TASK TESTUM_NOT_RUN
proc=@PROC@; grace=@GRACE@
[ -r "$proc/self/stat" ] && command -v grep >/dev/null 2>&1 || { echo "@TAG@ blind"; exit 0; }
now() { read -r up _ <"$proc/uptime"; up=${up%.*}${up#*.}; }
pause() { sleep 0.1 2>/dev/null || sleep 1; }
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
uid_of() {
  uid=
  while read -r name uid _; do case $name in Uid:) return ;; esac; done <"$1/status"
  uid=
}
# The processes of the SSH server; fails where none of them is seen above this shell.
find_servers() {
  servers=" "; pid=$$
  for file in "$proc"/[0-9]*/stat; do
    read -r line 2>/dev/null <"$file" || continue
    case ${line#*"("} in sshd*|dropbear*) servers="$servers${line%% *} " ;; esac
  done
  until case $servers in *" $pid "*) ;; *) false ;; esac; do
    read -r line 2>/dev/null <"$proc/$pid/stat" || return 1
    set -- ${line##*) }; pid=$2
  done
}
# Children of the first process, of this account and younger than `oldest`, that bear no task's mark; of a program that
# did not prove its beginning, also those of the SSH server: they may run in its place. Services' processes are those of the
# service manager, unless the service is the SSH server.
find_strays() {
  strays=
  ticks=$(getconf CLK_TCK 2>/dev/null) || ticks=100
  read -r own 2>/dev/null <"$proc/self/cgroup" || own=
  uid_of "$proc/self"; me=$uid
  table=$(cat "$proc"/[0-9]*/stat 2>/dev/null)
  now
  while read -r line; do
    pid=${line%% *}; rest=${line##*) }
    set -- $rest
    case " 1$servers" in *" $2 "*) ;; *) continue ;; esac
    case $servers in *" $pid "*) continue ;; esac
    case $1 in Z|X) continue ;; esac
    age=$((up - ${20} * 100 / ticks))
    [ "$age" -le "$oldest" ] || continue
    uid_of "$proc/$pid" 2>/dev/null
    [ "$uid" = "$me" ] || continue
    grep -qs -e '[T]ESTUM_TASK=' -e '[T]ESTUM_NOT_RUN=' "$proc/$pid/environ" "$proc/$pid/cmdline" && continue
    read -r group 2>/dev/null <"$proc/$pid/cgroup" || group=
    case $group in
      "$own") ;;
      */user@*) continue ;;
      *ssh*.service|*dropbear*.service) ;;
      *.service) continue ;;
    esac
    strays="$strays$tag stray $pid $age$nl"
  done <<TESTUM_TABLE
$table
TESTUM_TABLE
}
# What another task's end has just orphaned is gone in a moment.
say_strays() {
  [ "$oldest" ] || return
  nl="
"
  for look in 1 2 3 4 5; do
    find_strays
    [ "$strays" ] || return
    pause
  done
  find_strays
  [ "$strays" ] && echo "$strays"
}
# Those of the processes with these numbers that still have such a parent, of this account.
say_still() {
  uid_of "$proc/self"; me=$uid
  for pid in $seen; do
    read -r line 2>/dev/null <"$proc/$pid/stat" || continue
    set -- ${line##*) }
    case " 1$servers" in *" $2 "*) ;; *) continue ;; esac
    case $1 in [!ZX]) uid_of "$proc/$pid" 2>/dev/null; [ "$uid" = "$me" ] && echo "$tag stray $pid 0" ;; esac
  done
}
# Whether a process of this account says that the attempt ran nothing.
ran_nothing() {
  [ "$attempt" ] || return
  uid_of "$proc/self"; me=$uid
  for file in $(grep -ls -e "[T]ESTUM_NOT_RUN=$attempt-$1" "$proc"/[0-9]*/environ 2>/dev/null); do
    uid_of "${file%/environ}" 2>/dev/null
    [ "$uid" = "$me" ] && return
  done
  return 1
}
gone() {
  servers=" "
  [ -z "$unbegun" ] || find_servers || echo "$tag hidden"
  say_strays; say_still; echo "$tag gone $1"
}
seek() {
  tag=$1; pattern="[T]ESTUM_TASK=$2"; to_end=$3; seen=$4; oldest=$5; attempt=$6; unbegun=$7
  known=" "; ours=" "; groups=" "
  find_ours
  if [ "$ours" = " " ]; then
    pause; find_ours
    if [ "$ours" = " " ]; then
      if ran_nothing "$2"; then echo "$tag unrun"; else gone 0; fi
      return
    fi
  fi
  [ "$to_end" = 1 ] || { echo "$tag runs$ours"; return; }
  now; started=$up; deadline=$((up + grace)); last=$((deadline + 100)); told=" "; signals=TERM; empty=
  while :; do
    now
    if [ "$up" -ge "$deadline" ]; then signals="TERM, KILL"; send KILL
    elif [ "$told" != "$ours" ]; then told=$ours; send TERM; send CONT
    fi
    pause
    find_ours
    # A process that was forked while /proc was read may not be in it, and its parent not any more: one look is not enough.
    if [ "$ours" != " " ]; then empty=
    elif [ "$empty" ]; then now; gone "$((up - started)) $signals"; return
    else empty=1; continue
    fi
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
    """A program to be looked for on a host by its marker. `end`: what is found is ended. `strays`: the pids of what may be
    of it, and bears no mark. Where they are not known, `since` is how many seconds ago at most such a process began; None:
    none is looked for. `attempt` names the one that sent it (see Progress): what says that this one ran nothing is looked
    for, too. `begun`: whether the program has proven that it began; if not, what may run in its place is looked for, too."""

    marker: str
    end: bool
    strays: tuple[str, ...] = ()
    since: float | None = None
    attempt: str = ""
    begun: bool = True


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
    sent_at: float | None = None,
    attempt: str = "",
    proc: str = "/proc",
) -> Termination:
    """End all that bears `marker` on the host. See Pool.terminate. `proc`: where the host's proc(5) is."""
    tag = f"testum-{secrets.token_hex(8)}"
    limit = connect_timeout + grace + _SLACK
    since = None if sent_at is None else time.monotonic() - sent_at + limit
    script = _script([Sought(marker, end=True, since=since, attempt=attempt)], tag, grace, proc)
    answer = await _ask(pool, endpoint, script, connect_timeout, limit)
    if isinstance(answer, Termination):
        return answer
    return _verdict(answer, f"{tag}-0", tag, begun, math.inf if sent_at is None else sent_at)


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
        return Found([replace(answer, strays=program.strays) for program in sought])
    verdicts = [
        _verdict(answer, f"{tag}-{number}", tag, begun=True, sent_at=-math.inf)
        for number in range(len(sought))
    ]
    boot = re.search(rf"^{tag} boot ([0-9a-f-]{{1,64}})\r?$", answer, re.MULTILINE)
    return Found(verdicts, boot[1] if boot else None)


def _script(sought: Sequence[Sought], tag: str, grace: float, proc: str) -> str:
    calls = []
    for number, program in enumerate(sought):
        if not re.fullmatch(r"[0-9a-zA-Z-]{8,64}", program.marker):
            raise ValueError("a marker is 8 to 64 letters, digits and dashes")
        pids = " ".join(pid for pid in program.strays if pid.isdigit())
        oldest = "" if program.since is None or pids else str(round(program.since * 100))
        attempt = program.attempt if program.attempt.isdigit() else ""
        unbegun = "" if program.begun else "1"
        call = f"seek {tag}-{number} {program.marker} {program.end:d} '{pids}' '{oldest}' '{attempt}' '{unbegun}'"
        calls.append(f"( {call} ) &" if program.end else call)
    script = (
        _SCRIPT.replace("@PROC@", proc)
        .replace("@GRACE@", str(max(0, round(grace * 100))))
        .replace("@TAG@", tag)
    )
    return script + "\n".join([*calls, "wait\n"])


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


def _gone(told: str, strays: list[str], *, signalled: bool = False) -> Termination:
    if not strays:
        return Termination("confirmed", f"{told} {_LOOKED}", signalled)
    return Termination(
        "unconfirmed",
        f"{told} {_LOOKED} But processes of this account have begun since then that bear no mark and whose parent has "
        f"ended, or is the SSH server; they may be its and were left as they are: {', '.join(strays[:20])}.",
        signalled,
        tuple(strays[:_MOST_STRAYS]),
    )


def _verdict(answer: str, tag: str, tag_of_all: str, begun: bool, sent_at: float) -> Termination:
    strays: list[str] = []
    now = time.monotonic()
    for line in answer.splitlines():
        words = line.split()
        if words[:1] not in ([tag], [tag_of_all]):
            continue
        match words[1:]:
            case ["stray", pid, age] if pid.isdigit() and re.fullmatch(r"-?[0-9]{1,12}", age):
                # Its age is of before the answer came, so that it began at this time or before.
                if now - int(age) / 100 + _TICK >= sent_at:
                    strays.append(pid)
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
                return _gone("Looked at the host: it had already ended.", strays)
            case ["gone", hundredths, *signals] if hundredths.isdigit():
                sent = " ".join(signals) or "TERM"
                return _gone(
                    f"Sent {sent}; looked at the host after {int(hundredths) / 100:g} seconds: it is gone.",
                    strays,
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
