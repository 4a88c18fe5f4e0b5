"""What to run: commands and scripts, and how they are put onto the wire.

`TESTUM_TASK=<marker>` stands at the start of the command line and is exported. The leading shell thus
bears the marker in its command line and everything below it in its environment, also what forked away
twice and after the connection is gone: `terminate` finds it all by that. The leading shell stays until
the program has ended: it would otherwise replace itself by its last command, and one that belongs to
another user (sudo) shows no environment to look at.

Text, arguments and environment go over stdin, where no process list shows them and no login shell reads them in its own
way. See boot.py for the remote part, and for how a program proves that it was begun.
"""

import re
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from testum.ssh import boot
from testum.ssh.errors import ProgramInvalid, Unsupported

_MARKER = re.compile(r"[0-9a-zA-Z-]{8,64}\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "ksh93", "mksh", "zsh"})
_SETTABLE = re.compile(r"-[abefhkmnsuvxCEHT]*o?\Z")
"""Options that `set` takes as well as the shell's command line does (POSIX, set)."""
# fmt: off
_KEPT = frozenset({
    "BASHPID", "BASH_COMMAND", "BASH_LINENO", "BASH_SOURCE", "BASH_SUBSHELL", "DIRSTACK", "EPOCHREALTIME",
    "EPOCHSECONDS", "FUNCNAME", "GROUPS", "HISTCMD", "PIPESTATUS", "RANDOM", "SRANDOM", "USERNAME",
})
# fmt: on
"""Variables for which a shell takes what they are set to, says nothing, and keeps its own (bash(1), zshparam(1))."""


@dataclass(frozen=True, slots=True)
class Command:
    """Text for the user's login shell, as in `ssh host text`; for /bin/sh where that is fish, csh or tcsh. Its stdin is
    empty. `plain`: nothing is put around it, for hosts without a POSIX shell; what it leaves running can then not be found
    again, and that it was begun is not proven."""

    text: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """A program for `interpreter` (a command line such as `python3 -u`). It runs only if all of it
    arrived. A shell's arguments are hidden; other interpreters get theirs on the command line, where
    the host's process list shows them."""

    text: str = field(repr=False)
    interpreter: str = "/bin/sh"
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    plain: bool = False


Program = Command | Script


@dataclass(frozen=True, slots=True)
class Request:
    """An exec request's command line, and what goes to stdin before its end. `mark`: what comes on stdout (or stderr, where a start-up file put that in its place), with the
    shell's process id and a newline, right before the program's own output; where it does not, the program was not begun.
    Empty for a plain one, of which nobody knows, and which the request alone begins. `nonce`: what stands in stdin before anything secret, and comes back only where something
    there repeats it. `stop`: what goes to stdin instead where the program is not to be begun after all."""

    line: str
    stdin: bytes = b""
    mark: bytes = b""
    nonce: bytes = b""
    stop: bytes = b""


def encode(program: Program, marker: str, attempt: str = "") -> Request:
    """The request that runs `program` under `marker`. `attempt`: digits, by which a look finds that it did not (see
    Progress). Raises ProgramInvalid for what cannot be sent, Unsupported for what a plain host cannot be given, ValueError
    for a bad marker or attempt."""
    if not _MARKER.match(marker):
        raise ValueError("a marker is 8 to 64 letters, digits and dashes")
    if attempt and not (attempt.isascii() and attempt.isdigit()):
        raise ValueError("an attempt is named by digits")
    _check(program)
    if program.plain:
        return _encode_plain(program)
    # Each read of the kernel's random numbers costs. The sum fits into 31 bits, the most that a shell must be able to count.
    random = secrets.token_bytes(12)
    first, second = int.from_bytes(random[:4]) >> 2, int.from_bytes(random[4:8]) >> 2
    nonce = f"n{random[8:].hex()}"

    def fill(beginning: str) -> str:
        it = boot.for_attempt(beginning, attempt).replace("@MARKER@", marker)
        return it.replace("@NONCE@", nonce).replace("@SUM@", f"{first}+{second}")

    done = fill(boot.SETTINGS_DONE)
    if isinstance(program, Command):
        begin = boot.COMMAND
        lines = _command(program, done)
    else:
        begin = boot.SCRIPT
        # The whole program ends with this; half of one is not run. The marker is in it so that the shell
        # that waits for the program bears it in its command line.
        end = f"#TESTUM_TASK={marker}-{secrets.token_hex(8)}"
        whole = program.text + end
        lengths = f"{len(whole.encode())}|{len(whole)}"
        called = _called_by(program, lambda it: fill(it).replace("@END@", end).replace("@LENGTHS@", lengths))
        by_shell = _shell_index(_words(program.interpreter)) is not None
        # Other interpreters get their arguments on their command line.
        settings = _settings(program.environment, program.arguments if by_shell else ())
        lines = f"exec {called}"
        if "$TESTUM_NL" in lines:
            lines = boot.NEWLINE + lines
        lines += f"\n{boot.HEADER.decode()}{nonce}\n{settings}{done}\n{whole}"
    return Request(
        boot.LINE.replace("@IT@", f"'{fill(begin)}'"),
        boot.HEADER + f"{nonce}\n{lines}".encode(),
        f"testum-{first + second} ".encode(),
        nonce.encode(),
        boot.HEADER + f"{nonce}\n{boot.STOP}".encode(),
    )


def _command(program: Command, done: str) -> str:
    """The lines of a command's settings and of its text, whose newlines are quoted."""
    settings, text = _settings(program.environment), program.text
    if "\n" in text:
        text = f"eval {_quote(f'unset TESTUM_NL; {text}')}"
        settings = settings if "$TESTUM_NL" in settings else boot.NEWLINE + settings
    elif "$TESTUM_NL" in settings:
        text = f"unset TESTUM_NL; {text}"
    return f"{settings}{done}\n{text}\n"


def _called_by(program: Script, fill: Callable[[str], str]) -> str:
    """The words, quoted for one line, that start the script's interpreter with its beginning, which `fill` fills in."""
    words = _words(program.interpreter)
    shell = _shell_index(words)
    if shell is None:
        called = ["/bin/sh", "-c", fill(boot.RUN_ON_STDIN), "sh", *_called(words, program)]
    else:
        kept, options = _set_options(words[shell + 1 :])
        start = fill(boot.RUN_IN_SHELL).replace("@OPTIONS@", options)
        called = [*words[: shell + 1], *kept, "-c", start, PurePosixPath(words[shell]).name]
    return " ".join(map(_quote, called))


def _check(program: Program) -> None:
    """Refuse what would not arrive as it is written."""
    texts = [program.text, *program.environment.values()]
    if isinstance(program, Script):
        texts += [program.interpreter, *program.arguments]
    elif not program.text.strip():
        raise ProgramInvalid("The command is empty.")
    for text in texts:
        if "\0" in text:
            raise ProgramInvalid("A command, its arguments and its environment must not contain NUL.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ProgramInvalid("The text is not valid Unicode: it holds half of a character.") from None
    for name in program.environment:
        if not _NAME.match(name) or name.startswith("TESTUM_"):
            raise ProgramInvalid(
                f"{name[:80]!r} cannot be the name of an environment variable: letters, digits and _ only, no "
                "digit first, and not TESTUM_..., which testum itself uses."
            )


def _words(interpreter: str) -> list[str]:
    try:
        words = shlex.split(interpreter)
    except ValueError:
        words = []
    if not words:
        raise ProgramInvalid(
            "The interpreter must be a command line such as /bin/sh, python3 -u or /usr/bin/env bash."
        )
    return words


def _shell_index(words: Sequence[str]) -> int | None:
    """Where in an interpreter's words a POSIX-like shell is named, if it is one."""
    index = 0
    if PurePosixPath(words[0]).name == "env":
        index = 1
        while index < len(words) and (words[index].startswith("-") or "=" in words[index]):
            index += 1
    if index < len(words) and PurePosixPath(words[index]).name == "busybox":
        index += 1
    if index < len(words) and PurePosixPath(words[index]).name in _SHELLS:
        return index
    return None


def _set_options(words: Sequence[str]) -> tuple[list[str], str]:
    """The shell's options, split into those for its command line and a `set` for those that must not be
    in force before the program is: -x would print the secrets of the beginning."""
    kept: list[str] = []
    settable: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not _SETTABLE.match(word):
            kept.append(word)
            continue
        flags = word.replace("s", "")
        if flags != "-":
            settable.append(flags)
            if flags.endswith("o") and rest:
                settable.append(rest.pop(0))
    return kept, f"set {shlex.join(settable)};" if settable else ""


def _called(words: list[str], program: Script) -> list[str]:
    """How an interpreter is called that reads its program from stdin."""
    if not program.arguments:
        return words
    if any(PurePosixPath(word).name in _SHELLS for word in words):
        return [*words, "-s", "--", *program.arguments]
    first = "--" if PurePosixPath(words[0]).name.startswith("php") else "-"
    return [*words, first, *program.arguments]


def _encode_plain(program: Program) -> Request:
    if program.environment:
        raise Unsupported("A plain host takes no environment: it has no POSIX shell to set it with.")
    if isinstance(program, Command):
        return Request(program.text)
    return Request(shlex.join(_called(_words(program.interpreter), program)), program.text.encode())


def _settings(environment: Mapping[str, str], arguments: Sequence[str] = ()) -> str:
    """Shell that sets arguments and environment, on one line; what follows it is done where all of it was."""
    parts = [
        f"export {_quote(f'{name}={value}')} && "
        + (f'[ "${{{name}}}" = {_quote(value)} ] && ' if name in _KEPT else "")
        for name, value in environment.items()
    ]
    if arguments:
        # Within a function that stands for `set` they would be the function's.
        parts.insert(0, f'set -- {" ".join(map(_quote, arguments))} && [ "$#" = {len(arguments)} ] && ')
    settings = "".join(parts)
    return boot.NEWLINE + settings if "$TESTUM_NL" in settings else settings


def _quote(value: str) -> str:
    """One word of shell. A newline within is written as $TESTUM_NL, because the line ends at the first one. Quoted in any
    case: zsh takes `=ls` for the path of ls, and a word for its global alias; bash with `set -k` takes `a=b` for a setting."""
    quoted = value.replace("'", "'\"'\"'").replace("\n", "'\"$TESTUM_NL\"'")
    return f"'{quoted}'"
