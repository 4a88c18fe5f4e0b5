"""What to run: commands and scripts, and how they are put onto the wire.

`TESTUM_TASK=<marker>` stands at the start of the command line and is exported. The leading shell thus
bears the marker in its command line and everything below it in its environment, also what forked away
twice and after the connection is gone: `terminate` finds it all by that. Whatever may be secret
(environment, script text, a shell script's arguments) goes over stdin, where no process list shows it.
"""

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from testum.ssh.errors import Unsupported

_MARKER = re.compile(r"[0-9a-zA-Z-]{8,64}\Z")
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "ksh93", "zsh", "busybox"})
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+=/.,:@ '\"$;(){}")


@dataclass(frozen=True, slots=True)
class Command:
    """Text for the user's login shell, as in `ssh host text`. `plain`: nothing is put around it, for
    hosts without a POSIX shell."""

    text: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """A program for `interpreter` (a command line such as `python3 -u`). It runs only if all of it
    arrived. A shell's arguments are hidden; other interpreters get theirs on the command line."""

    text: str = field(repr=False)
    interpreter: str = "/bin/sh"
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    plain: bool = False


Program = Command | Script


@dataclass(frozen=True, slots=True)
class Request:
    """An exec request's command line, and what goes to stdin before its end."""

    line: str
    stdin: bytes = b""


# Shared beginning: read one line of settings (the read builtin takes no byte too many from a pipe), then
# carry it out. printf's %b turns the octal escapes back (POSIX, printf).
_READ_SETTINGS = 'IFS= read -r TESTUM_IN || exit 255; eval "$(printf %b "$TESTUM_IN")"; '
# The whole program ends with a trailer that the settings name; half of one is not run.
_READ_PROGRAM = (
    'TESTUM_IN=$(cat); case $TESTUM_IN in *"$TESTUM_END") ;; *) exit 255;; esac; '
    'TESTUM_IN=${TESTUM_IN%"$TESTUM_END"}; '
)
_RUN_IN_SHELL = (
    _READ_SETTINGS + _READ_PROGRAM + 'exec </dev/null; eval "unset TESTUM_IN TESTUM_END; $TESTUM_IN"'
)
_RUN_BY_PIPE = (
    _READ_SETTINGS + _READ_PROGRAM + 'printf %s "$TESTUM_IN" | { unset TESTUM_IN TESTUM_END; exec "$@"; }'
)


def encode(program: Program, marker: str) -> Request:
    """The request that runs `program` under `marker`. Raises ValueError for what cannot be sent at
    all (NUL, a bad marker), Unsupported for what a plain host cannot be given."""
    if not _MARKER.match(marker):
        raise ValueError("a marker is 8 to 64 letters, digits and dashes")
    if "\0" in program.text:
        raise ValueError("a program must not contain NUL")
    if program.plain:
        return _encode_plain(program)
    prefix = f"TESTUM_TASK={marker}; export TESTUM_TASK; "
    if isinstance(program, Command):
        if not program.environment:
            return Request(prefix + program.text)
        settings = _settings(program.environment, [])
        return Request(f"{prefix}{_READ_SETTINGS}unset TESTUM_IN; exec </dev/null; {program.text}", settings)
    words = shlex.split(program.interpreter)
    end = f"#testum-{secrets.token_hex(8)}"
    body = program.text.encode("utf-8", "surrogateescape") + end.encode()
    set_end = f"TESTUM_END='{end}'"
    if PurePosixPath(words[-1] if _is_env(words) else words[0]).name in _SHELLS:
        arguments = "set -- " + " ".join(map(shlex.quote, program.arguments))
        settings = _settings(program.environment, [set_end, arguments])
        line = f"{prefix}exec {shlex.join(words)} -c {shlex.quote(_RUN_IN_SHELL)} testum"
    else:
        settings = _settings(program.environment, [set_end])
        called = shlex.join([*words, "-", *program.arguments])
        line = f"{prefix}exec /bin/sh -c {shlex.quote(_RUN_BY_PIPE)} sh {called}"
    return Request(line, settings + body)


def _is_env(words: Sequence[str]) -> bool:
    return len(words) > 1 and PurePosixPath(words[0]).name == "env"


def _encode_plain(program: Program) -> Request:
    if program.environment:
        raise Unsupported("A plain host takes no environment: it has no POSIX shell to set it with.")
    if isinstance(program, Command):
        return Request(program.text)
    called = shlex.join([*shlex.split(program.interpreter), *program.arguments])
    return Request(called, program.text.encode("utf-8", "surrogateescape"))


def _settings(environment: Mapping[str, str], more: list[str]) -> bytes:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()] + more
    # The colon keeps a trailing newline of the last value: $(...) strips those at the very end.
    plain = ("\n".join(lines) + "\n:").encode("utf-8", "surrogateescape")
    return b"".join(bytes([byte]) if byte in _SAFE else b"\\0%03o" % byte for byte in plain) + b"\n"
