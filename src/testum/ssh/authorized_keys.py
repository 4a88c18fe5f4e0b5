"""Deploying keys to `authorized_keys` (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"), atomically and once.

The remote part needs a POSIX sh and the usual small tools (busybox has them). It writes a temporary file
beside the old one and renames it: whoever looks, or whenever it is killed, there is the whole old or the
whole new file.
"""

import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testum.ssh.endpoint import Endpoint, Timeouts
from testum.ssh.errors import SSHError
from testum.ssh.execution import Exit, Progress
from testum.ssh.program import Script

if TYPE_CHECKING:
    from testum.ssh.pool import Pool

_MAX_ANSWER = 256 * 1024


class DeployFailed(SSHError):
    """The host could not change its `authorized_keys`; the file is as it was."""

    code = "deploy_failed"


@dataclass(frozen=True, slots=True)
class DeployResult:
    """Key lines that were added and that were there already, and whether the file was touched at all."""

    added: list[str]
    present: list[str]
    changed: bool


_SCRIPT = r"""
set -u
umask 077
tag=@TAG@
fail() { echo "$tag failed $*"; exit 1; }
[ -n "${HOME:-}" ] && [ -d "$HOME" ] || fail "the account has no home directory"
dir=$HOME/.ssh
if [ ! -d "$dir" ]; then mkdir -m 700 "$dir" 2>/dev/null || [ -d "$dir" ] || fail "cannot make $dir"; fi
file=$dir/authorized_keys
if [ -L "$file" ]; then
  file=$(readlink -f "$file") && [ -n "$file" ] || fail "authorized_keys is a link that leads nowhere"
  dir=${file%/*}
fi
[ ! -e "$file" ] || [ -f "$file" ] || fail "$file is not a file"
lock=$file.testum-lock
tries=0
# One deployment at a time. A lock whose holder is gone was left by a kill.
until mkdir "$lock" 2>/dev/null; do
  [ -d "$lock" ] || [ -w "$dir" ] || fail "$dir cannot be written"
  holder=$(cat "$lock/pid" 2>/dev/null)
  tries=$((tries + 1))
  if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then rm -rf "$lock"
  elif [ -z "$holder" ] && [ "$tries" -gt 50 ]; then rm -rf "$lock"
  elif [ "$tries" -gt 300 ]; then fail "another deployment holds $lock"
  else sleep 0.1 2>/dev/null || sleep 1
  fi
done
new=
trap 'rm -rf "$lock" ${new:+"$new"}' EXIT
trap 'exit 1' HUP INT TERM
echo $$ >"$lock/pid" || fail "$dir cannot be written"
rm -f "$file".testum-new.*
new=$file.testum-new.$$
if [ -f "$file" ]; then
  cat "$file" >"$new" || fail "cannot copy $file"
  if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then echo >>"$new" || fail "no room in $dir"; fi
else
  : >"$new" || fail "$dir cannot be written"
fi
added=0
place() {
  # $1: number, $2: the key's base64 part, $3: the line. Comments are no keys.
  if [ -f "$file" ] && grep -v '^[[:space:]]*#' "$file" | grep -qF -- "$2"; then
    echo "$tag present $1"; return
  fi
  if grep -v '^[[:space:]]*#' "$new" | grep -qF -- "$2"; then echo "$tag present $1"; return; fi
  printf '%s\n' "$3" >>"$new" || fail "no room in $dir"
  added=$((added + 1))
  echo "$tag added $1"
}
@PLACES@
chmod 600 "$new" || fail "cannot set the mode"
if [ "$added" -gt 0 ]; then
  sync "$new" 2>/dev/null || sync
  mv -f "$new" "$file" || fail "cannot replace $file"
  echo "$tag done changed"
elif [ -f "$file" ] && [ -z "$(find "$file" -prune -perm 600)" ]; then
  chmod 600 "$file" || fail "cannot set the mode of $file"
  echo "$tag done changed"
else
  echo "$tag done same"
fi
"""


async def deploy_keys(
    pool: "Pool",
    endpoint: Endpoint,
    keys: Sequence[str],
    *,
    marker: str,
    timeouts: Timeouts,
    progress: Progress | None = None,
) -> DeployResult:
    """Add the key lines (`type base64 comment`) that are not there yet. Raises SSHError."""
    tag = f"testum-{secrets.token_hex(8)}"
    places = "\n".join(
        f"place {number} {shlex.quote(line.split()[1])} {shlex.quote(line)}"
        for number, line in enumerate(keys)
    )
    script = Script(_SCRIPT.replace("@TAG@", tag).replace("@PLACES@", places))
    answer, complaint = bytearray(), bytearray()
    async with pool.run(endpoint, script, marker=marker, timeouts=timeouts, progress=progress) as execution:
        async for event in execution:
            if isinstance(event, Exit):
                break
            if not event.early:
                kept = answer if event.stream == "stdout" else complaint
                kept += event.data[: _MAX_ANSWER - len(kept)]
    return _read(endpoint, keys, answer.decode("utf-8", "replace"), complaint.decode("utf-8", "replace"), tag)


def _read(endpoint: Endpoint, keys: Sequence[str], answer: str, complaint: str, tag: str) -> DeployResult:
    added: list[str] = []
    present: list[str] = []
    reason = ""
    for line in answer.splitlines():
        if not line.startswith(tag + " "):
            continue
        verb, _, rest = line[len(tag) + 1 :].partition(" ")
        if verb in ("added", "present") and rest.isdigit() and int(rest) < len(keys):
            (added if verb == "added" else present).append(keys[int(rest)])
        elif verb == "done":
            return DeployResult(added, present, rest == "changed")
        elif verb == "failed":
            reason = rest
    shown = "".join(
        character if character.isprintable() else " " for character in (reason or complaint.strip())
    )
    raise DeployFailed(
        f"{endpoint.address}: authorized_keys was not changed: {shown[:300] or 'the host gave no answer'}."
    )
