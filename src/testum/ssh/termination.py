"""Ending what a task left on a host, and looking whether it is gone.

One POSIX sh script does both, over a second channel or a fresh connection. It finds what bears the
task's marker (see program.py), and what belongs to that: descendants, and the session and group of its
leading shell. TERM first, KILL after the grace time; it says what is left.
"""

import re
import secrets
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


@dataclass(frozen=True, slots=True)
class Termination:
    """`confirmed`: a look at the host found nothing of the task any more. `unconfirmed`: `detail` says
    what is left, or why nobody could look."""

    state: Literal["confirmed", "unconfirmed"]
    detail: str


# Reads nothing but builtins, grep, cat and sleep. A process's own marker would be found in this script's
# processes too if it stood there as it is: the pattern is written with a bracket, which matches without
# being equal. Field numbers: proc_pid_stat(5); the command name, which may hold anything, ends at the
# last parenthesis.
_SCRIPT = r"""
LC_ALL=C; export LC_ALL; unset TESTUM_TASK
proc=@PROC@; grace=@GRACE@; tag=@TAG@; pattern='[T]ESTUM_TASK=@MARKER@'
[ -r "$proc/self/stat" ] && command -v grep >/dev/null 2>&1 || { echo "$tag blind"; exit 0; }
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
known=" "; ours=" "; groups=" "
find_ours
[ "$ours" = " " ] && { echo "$tag gone 0"; exit 0; }
now; started=$up; deadline=$((up + grace)); last=$((deadline + 100)); told=" "; signals=TERM
while :; do
  now
  if [ "$up" -ge "$deadline" ]; then signals="TERM, KILL"; send KILL
  elif [ "$told" != "$ours" ]; then told=$ours; send TERM; send CONT
  fi
  sleep 0.1 2>/dev/null || sleep 1
  find_ours
  [ "$ours" = " " ] && { now; echo "$tag gone $((up - started)) $signals"; exit 0; }
  now
  [ "$up" -ge "$last" ] && break
done
set -- $ours
echo "$tag left $*"
"""


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
    if not re.fullmatch(r"[0-9a-zA-Z-]{8,64}", marker):
        raise ValueError("a marker is 8 to 64 letters, digits and dashes")
    tag = f"testum-{secrets.token_hex(8)}"
    script = (
        _SCRIPT.replace("@PROC@", proc)
        .replace("@GRACE@", str(max(0, round(grace * 100))))
        .replace("@TAG@", tag)
        .replace("@MARKER@", marker)
    )
    limit = connect_timeout + grace + _SLACK
    try:
        async with Patience(limit + _SLACK):
            answer = await _ask(pool, endpoint, script, Timeouts(connect=connect_timeout, total=limit))
    except SSHError as error:
        return Termination("unconfirmed", f"Nobody could look at the host: {error.message}")
    except TimeoutError:
        return Termination("unconfirmed", f"The host did not answer within {limit:g} seconds.")
    return _verdict(answer, tag, begun)


async def _ask(pool: "Pool", endpoint: Endpoint, script: str, timeouts: Timeouts) -> bytes:
    answer = bytearray()
    async with pool.run(endpoint, Script(script), marker="testum-look", timeouts=timeouts) as execution:
        async for event in execution:
            if isinstance(event, Exit):
                break
            if event.stream == "stdout" and not event.early and len(answer) < _MAX_ANSWER:
                answer += event.data
    return bytes(answer)


def _verdict(answer: bytes, tag: str, begun: bool) -> Termination:
    for line in answer.decode("utf-8", "replace").splitlines():
        words = line.split()
        if words[:1] != [tag]:
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
