"""Deploying keys to `authorized_keys` (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"), atomically and once.

The remote part needs a POSIX sh and the usual small tools (busybox has them). It writes a temporary file
beside the old one and renames it: whoever looks, or whenever it is killed, there is the whole old or the
whole new file. The file is read as sshd reads it: a key is there only if it can log in by its line.

One deployment at a time changes a file, also where several hosts share a home. A pool has one at a time for an account,
so that few wait on the host itself. The lock there is a symbolic link: symlink(2)
makes it with its content, or fails, at once, on NFS too. Whose it is says a name that no other deployment has; neither a
process id nor a clock would mean anything on another host. A lock that stays the same for a while was left by a kill and is
moved away; whoever moved another one than he had seen puts it back. Who was only slow finds before the rename that the
lock is not his any more, or the file is not what he had read, and begins anew.
"""

import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from testum.ssh.endpoint import Endpoint, Timeouts
from testum.ssh.errors import NotBegun, SSHError
from testum.ssh.execution import Exit, Progress
from testum.ssh.program import Script

if TYPE_CHECKING:
    from testum.ssh.pool import Pool

_MAX_ANSWER = 256 * 1024
_MOST_HOPS = 10
_STALE_SECONDS = 15
"""A lock that stays the same for so long was left by a kill. What it guards takes a small part of a second."""
_WAIT_SECONDS = 300
"""So long others may hold the lock, one after the other."""


class DeployFailed(SSHError):
    """The host could not change its `authorized_keys`; the file is as it was."""

    code = "deploy_failed"


@dataclass(frozen=True, slots=True)
class DeployResult:
    """Key lines that were added and that were there already, and whether the file was touched at all. `mended`: what others
    could write, so that sshd would not have read it (sshd_config(5), StrictModes), and cannot any more."""

    added: list[str]
    present: list[str]
    changed: bool
    mended: list[str] = field(default_factory=list)


_HOME = r"""
# Where sshd looks: in the account's home, whatever a start-up file says. Several accounts may have one number.
home=; name=${LOGNAME:-}
[ -n "$name" ] && [ "$(id -u "$name" 2>/dev/null)" = "$me" ] || name=$(id -un)
case $name in ""|[!A-Za-z_]*|*[!A-Za-z0-9_.@-]*) ;; *) eval "home=~$name" ;; esac
case $home in /*) ;; *) home=${HOME:-} ;; esac
"""

_SCRIPT = r"""
set -u
umask 077
LC_ALL=C; export LC_ALL
tag=@TAG@
token=@TOKEN@
me=$(id -u)
fail() { echo "$tag failed $*"; exit 1; }
@HOME@
[ -n "$home" ] && [ -d "$home" ] && home=$(cd "$home/" 2>/dev/null && pwd -P) || fail "the account has no home directory"
dir=$home/.ssh
if [ ! -d "$dir" ]; then mkdir -m 700 "$dir" 2>/dev/null || [ -d "$dir" ] || fail "cannot make $dir"; fi
dir=$(cd "$dir/" 2>/dev/null && pwd -P) || fail "cannot enter $home/.ssh"
file=$dir/authorized_keys
if [ -L "$file" ]; then
  file=$(readlink -f "$file") && [ -n "$file" ] || fail "authorized_keys is a link that leads nowhere"
  dir=${file%/*}
fi
[ ! -e "$file" ] || [ -f "$file" ] || fail "$file is not a file"
refused="sshd would not accept the keys (StrictModes)"
is_ours() { [ -n "$(find "$1" -prune \( -user "$me" -o -user 0 \) 2>/dev/null)" ]; }
is_fine() { [ -n "$(find "$1" -prune \( -user "$me" -o -user 0 \) ! -perm -020 ! -perm -002 2>/dev/null)" ]; }
only_ours() { [ -n "$(find "$1" -prune ! -perm -020 ! -perm -002 2>/dev/null)" ]; }
told= ; mended=
# As sshd does: the file and each directory up to the home, or up to the root where the file is elsewhere.
path=$file
while :; do
  [ -e "$path" ] || { path=${path%/*}; continue; }
  if ! is_fine "$path" && ! { [ "$path" = "$file" ] && only_ours "$path"; }; then
    [ "$path" = "$file" ] || is_ours "$path" || fail "$path belongs to another user: $refused"
    case $path in
      # A home that a group of its owner alone can write is nobody's else: that one is mended, too.
      "$home")
        [ "$(id -un)" = "$(id -gn)" ] && [ -n "$(find "$home" -prune -group "$(id -g)" ! -perm -002)" ] ||
          fail "others can write $home: $refused" ;;
      "$file"|"$home/.ssh") ;;
      *) fail "others can write $path: $refused" ;;
    esac
    chmod go-w "$path" 2>/dev/null
    only_ours "$path" || fail "others can write $path, and that cannot be changed: $refused"
    mended="$mended$tag mended $path
"
  fi
  case $path in "$home"|/) break ;; esac
  path=${path%/*}; path=${path:-/}
done
lock=$file.testum-lock
mine=$file.testum-$token
holds() { [ "$(readlink "$lock" 2>/dev/null)" = "$token" ]; }
leave() { rm -f "$mine".*; if holds; then rm -f "$lock"; fi; }
trap leave EXIT
trap 'exit 1' HUP INT TERM
take() {
  seen=; since=0; waited=0
  # What is a directory takes the link into itself.
  until ln -s "$token" "$lock" 2>/dev/null && { holds || { rm -f "$lock/$token"; false; }; }; do
    now=$(readlink "$lock" 2>/dev/null)
    # The answer to our own attempt can get lost on the way from a server of files.
    [ "$now" != "$token" ] || return 0
    [ -e "$lock" ] || [ -L "$lock" ] || { [ -w "$dir" ] && [ -x "$dir" ]; } || fail "$dir cannot be written"
    # Whoever has waited for a while looks less often: there are many.
    if [ "$waited" -lt 20 ]; then step=1; else step=3; fi
    sleep "0.$step" 2>/dev/null || { sleep 1; step=10; }
    waited=$((waited + step)); since=$((since + step))
    [ "$now" = "$seen" ] || { seen=$now; since=0; }
    if [ "$since" -ge @STALE@ ] && [ "$(readlink "$lock" 2>/dev/null)" = "$seen" ]; then
      since=0
      if mv "$lock" "$mine".old 2>/dev/null; then
        moved=$(readlink "$mine".old 2>/dev/null)
        rm -rf "$mine".old
        [ "$moved" = "$seen" ] || ln -s "$moved" "$lock" 2>/dev/null
      fi
    fi
    [ "$waited" -lt @WAIT@ ] || fail "other deployments hold $lock"
  done
}
wanted() {
  cat <<'TESTUM_WANTED'
@WANTED@
TESTUM_WANTED
}
# Which of the wanted keys can log in, by their numbers. On stdin: the wanted ones, then the file.
present() {
  tr '\000' '\001' | awk -v here="$(unset TZ; date +%Y%m%d%H%M%S)" -v utc="$(date -u +%Y%m%d%H%M%S)" '
  function within(date, place, least, most,   number) {
    number = substr(date, place, 2) + 0
    return number >= least && number <= most
  }
  # An IPv4 network must have no bits below its mask (match_host_and_ip in sshd); an empty pattern refuses all.
  function is_from(value,   patterns, parts, count, i, size, bit) {
    count = split(value, patterns, ",")
    for (i = 1; i <= count; i++) {
      sub(/^!/, "", patterns[i])
      if (patterns[i] == "") return 0
      sub("/", ".", patterns[i])
      if (patterns[i] !~ /^[0-9]+[.][0-9]+[.][0-9]+[.][0-9]+[.][0-9]+$/) continue
      split(patterns[i], parts, /[.]/)
      if (parts[5] > 32) continue
      # Powers are none of busybox awk without its mathematics.
      size = 1
      for (bit = parts[5] + 0; bit < 32; bit++) size *= 2
      if ((((parts[1] * 256 + parts[2]) * 256 + parts[3]) * 256 + parts[4]) % size) return 0
    }
    return count
  }
  function is_permit(value, bare,   host, port) {
    if (bare && value !~ /:/) value = ":" value
    if (!match(value, /:[^:]*$/) || index(value, "/")) return 0
    host = substr(value, 1, RSTART - 1)
    port = substr(value, RSTART + 1)
    if (host ~ /:/ && (substr(host, 1, 1) != "[" || substr(host, length(host)) != "]")) return 0
    if (port !~ /^[0-9]+$/ && port != "*") return 0
    return port == "*" || (length(port) <= 5 && port + 0 >= 1 && port + 0 <= 65535)
  }
  function valid_until(value,   now) {
    now = here
    if (sub(/Z$/, "", value)) now = utc
    if (value !~ /^[0-9]+$/ || (length(value) != 8 && length(value) != 12 && length(value) != 14)) return 0
    while (length(value) < 14) value = value "0"
    if (!within(value, 5, 1, 12) || !within(value, 7, 1, 31) || !within(value, 9, 0, 23)) return 0
    if (!within(value, 11, 0, 59) || !within(value, 13, 0, 59)) return 0
    return (value "") > (now "")
  }
  function allows(option,   at, name, value) {
    # sshd passes over them.
    if (option == "") return 1
    at = index(option, "=")
    name = tolower(at ? substr(option, 1, at - 1) : option)
    if (!at) return name ~ /^(restrict|(no-)?(port-forwarding|agent-forwarding|x11-forwarding|pty|user-rc|touch-required|verify-required))$/
    value = substr(option, at + 1)
    if (value !~ /^"(\\"|[^"])*"$/) return 0
    value = substr(value, 2, length(value) - 2)
    gsub(/\\"/, "\"", value)
    # It takes so many of each (auth-options.c).
    if (++times[name] > (name ~ /^(command|from)$/ ? 1 : name == "environment" ? 1024 : 4096)) return 0
    if (name == "expiry-time") return valid_until(value)
    if (name == "from") return is_from(value)
    if (name == "environment") return value ~ /^[A-Za-z0-9_]+=/
    if (name ~ /^permit(open|listen)$/) return is_permit(value, name == "permitlisten")
    if (name == "tunnel") return tolower(value) == "any" || value ~ /^[0-9]+$/ && length(value) < 10
    return name == "command"
  }
  function key(text,   parts) {
    if (split(text, parts, /[ \t]+/) < 2) return ""
    sub(/\r$/, "", parts[2])
    return parts[1] " " parts[2]
  }
  {
    line = $0
    if (line ~ /^testum-wanted: / && NR <= @NUMBER@) { split(line, wanted, " "); number[wanted[3] " " wanted[4]] = wanted[2]; next }
    sub(/\001.*/, "", line); sub(/^[ \t]+/, "", line)
    if (line == "" || line ~ /^#/) next
    if (key(line) in number) { print number[key(line)]; next }
    quoted = 0; fine = 1; begun = 1; split("", times); end = length(line)
    for (i = 1; i <= end; i++) {
      c = substr(line, i, 1)
      if (c == "\\" && substr(line, i + 1, 1) == "\"") { i++; continue }
      if (c == "\"") quoted = !quoted
      else if (!quoted && (c == " " || c == "\t")) break
      else if (!quoted && c == ",") { if (!allows(substr(line, begun, i - begun))) fine = 0; begun = i + 1 }
      if (!fine) break
    }
    if (!fine || !allows(substr(line, begun, i - begun))) next
    rest = substr(line, i); sub(/^[ \t]+/, "", rest)
    if (key(rest) in number) print number[key(rest)]
  }'
}
# A holder that was slow may have lost the lock, and its files with it: what fails then is no fault of the host.
broken() {
  holds || return 1
  [ -z "$copied" ] || [ -f "$mine".base ] || return 1
  [ -z "$composed" ] || [ -f "$mine".new ] || return 1
  fail "$@"
}
place() {
  case " $there " in
    *" $1 "*) told="$told$tag present $1
" ;;
    *)
      lines="$lines$2
"
      told="$told$tag added $1
" ;;
  esac
}
# The whole new file, written by one redirection: where it is removed meanwhile, it does not come back with a part of it.
compose() {
  cat "$mine".base || return 1
  [ ! -s "$mine".base ] || [ "$(tail -c 1 "$mine".base | wc -l)" -gt 0 ] || echo
  printf '%s' "$lines"
}
# 1: the lock or the file is not as it was; all of it again.
change() {
  for other in "$file".testum-*; do
    case $other in "$lock"|"$mine".*) ;; *) rm -f "$other" ;; esac
  done
  told= ; lines= ; was= ; copied= ; composed=
  if [ -f "$file" ]; then
    was=1
    cat "$file" >"$mine".base || broken "cannot copy $file" || return 1
  else
    : >"$mine".base || broken "$dir cannot be written" || return 1
  fi
  copied=1
  there=$({ wanted && cat "$mine".base; } | present) || broken "cannot read $file: awk is needed" || return 1
  there=$(echo $there)
  @PLACES@
  if [ -n "$lines" ]; then
    compose >"$mine".new || broken "no room in $dir" || return 1
    composed=1
    chmod 600 "$mine".new || broken "cannot set the mode" || return 1
    sync "$mine".new 2>/dev/null || sync
    holds || return 1
    if [ -n "$was" ]; then cmp -s "$mine".base "$file" || return 1
    else [ ! -e "$file" ] || return 1
    fi
    mv -f "$mine".new "$file" 2>/dev/null || broken "cannot replace $file" || return 1
    told="$told$tag done changed"
  elif [ -f "$file" ] && ! is_ours "$file"; then
    fail "$file belongs to another user: $refused"
  elif [ -O "$file" ] && [ -z "$(find "$file" -prune -perm 600)" ]; then
    chmod 600 "$file" || fail "cannot set the mode of $file"
    told="$told$tag done changed"
  else
    told="$told$tag done same"
  fi
}
tries=0
while take; ! change; do
  tries=$((tries + 1))
  [ "$tries" -lt 20 ] || fail "$file is changed by others all the time"
done
printf '%s\n' "$mended$told"
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
    answer, complaint, early = bytearray(), bytearray(), bytearray()
    started = pool.run(endpoint, _script(keys, tag), marker=marker, timeouts=timeouts, progress=progress)
    try:
        async with pool.turn(_account(endpoint)), started as execution:
            async for event in execution:
                if isinstance(event, Exit):
                    break
                # What sshd or a start-up file says comes early; the script's own complaints may overtake its beginning.
                into = complaint if event.stream != execution.stdout else early if event.early else answer
                into += event.data[: _MAX_ANSWER - len(into)]
    except NotBegun as error:
        # Nobody else is shown what the shell printed.
        words = _shown((early + complaint).decode("utf-8", "replace")).strip()
        raise NotBegun(
            f"{error.message} Printed: {words[:300]}" if words else error.message, error.status
        ) from None
    return _read(endpoint, keys, answer.decode("utf-8", "replace"), complaint.decode("utf-8", "replace"), tag)


def _account(endpoint: Endpoint) -> str:
    """The account, as far as the way to it tells: the same address behind another jump host is another one."""
    hops = [endpoint]
    while (jump := hops[-1].jump) is not None and len(hops) < _MOST_HOPS:
        hops.append(jump)
    return " ".join(hop.address for hop in hops)


def _script(keys: Sequence[str], tag: str) -> Script:
    """The remote part for these keys; each is asked for once, and known by the number of its first line."""
    first: dict[str, int] = {}
    for number, line in enumerate(keys):
        first.setdefault(_key(line), number)
    wanted = "\n".join(f"testum-wanted: {number} {key}" for key, number in first.items())
    places = "\n".join(f"place {number} {shlex.quote(keys[number])}" for number in first.values())
    # Some later than others, so that not all who wait take a lock for abandoned at the same moment.
    stale = _STALE_SECONDS * 10 + secrets.randbelow(_STALE_SECONDS * 2)
    text = (
        _SCRIPT.replace("@TAG@", tag)
        .replace("@TOKEN@", secrets.token_hex(8))
        .replace("@STALE@", str(stale))
        .replace("@WAIT@", str(_WAIT_SECONDS * 10))
        .replace("@NUMBER@", str(len(first)))
        .replace("@WANTED@", wanted)
        .replace("@PLACES@", places)
        .replace("@HOME@", _HOME)
    )
    return Script(text)


def _key(line: str) -> str:
    """A key line's type and base64 part."""
    return " ".join(line.split()[:2])


def _read(endpoint: Endpoint, keys: Sequence[str], answer: str, complaint: str, tag: str) -> DeployResult:
    added: list[str] = []
    present: list[str] = []
    mended: list[str] = []
    reason = ""
    for line in answer.splitlines():
        # A start-up file may put something before each line.
        _, found, told_here = line.partition(tag + " ")
        if not found:
            continue
        verb, _, rest = told_here.partition(" ")
        if verb in ("added", "present") and rest.isdigit() and int(rest) < len(keys):
            (added if verb == "added" else present).append(keys[int(rest)])
        elif verb == "mended":
            mended.append(_shown(rest))
        elif verb == "done":
            told = {_key(line) for line in (*added, *present)}
            twice = [line for line in keys if _key(line) in told and line not in (*added, *present)]
            return DeployResult(added, present + twice, rest == "changed" or bool(mended), mended)
        elif verb == "failed":
            reason = rest
    if reason:
        raise DeployFailed(f"{endpoint.address}: authorized_keys was not changed: {_shown(reason)[:300]}.")
    raise DeployFailed(
        f"{endpoint.address}: whether authorized_keys was changed is not known: "
        f"{_shown(complaint.strip())[:300] or 'the host gave no answer'}."
    )


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
