"""Commands that look as if they could not be undone. A help against slips, and no protection: it reads the words of a
shell's commands as one reads them in passing, rather asks once too often, and can be written around in a thousand
ways."""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile

from testum.core.dangerous_programs import DISK, RULES, SYSTEM

_READ = 256 * 1024
"""So many characters are looked at."""
_DEPTH = 12
"""A command within a command (`sudo sh -c "..."`) is looked at so many levels deep."""

_TOKEN = re.compile(
    r"""
      (?P<joined>\\\n)
    | \\(?P<escaped>.)
    | '(?P<single>[^']*)'
    | "(?P<double>(?:[^"\\]|\\.)*)"
    | (?P<comment>(?<![^\s;&|()])\#[^\n]*)
    | (?P<redirect>&>>?|[<>]&|<<<|<<-?|>>|>\||<>|[<>])
    | (?P<end>\$\(|[;&|()`\n])
    | (?P<space>\s+)
    | (?P<plain>[^\s;&|()`<>'"\\$]+|.)
    """,
    re.DOTALL | re.VERBOSE,
)
_SUBSTITUTION = re.compile(r"\$\(|`")
_SQL = re.compile(
    r"\b(?:drop\s+(?:database|table|schema)|truncate\s+table|delete\s+from|dropDatabase)\b", re.IGNORECASE
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(?:\[[^\]]*\])?\+?=")
_KEYWORDS = frozenset(
    ["if", "then", "elif", "else", "while", "until", "do", "!", "{", "}", "fi", "done", "esac", "coproc"]
)
_SHELLS = frozenset(["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish"])


@dataclass(frozen=True, slots=True)
class _Wrapper:
    """A program that runs the command that follows its options: which options take a word (letters and long names),
    and how many words stand before the command."""

    letters: str = ""
    names: str = ""
    words: int = 0


_WRAPPERS: Mapping[str, _Wrapper] = {
    "sudo": _Wrapper("CDghpRrTtUu", "user group host prompt chdir chroot role type close-from other-user"),
    "doas": _Wrapper("Cu"),
    "env": _Wrapper("Cu", "unset chdir"),
    "nice": _Wrapper("n", "adjustment"),
    "ionice": _Wrapper("cn", "class classdata"),
    "chrt": _Wrapper("TPD", "", 1),
    "taskset": _Wrapper("", "", 1),
    "timeout": _Wrapper("ks", "kill-after signal", 1),
    "nohup": _Wrapper(),
    "setsid": _Wrapper(),
    "stdbuf": _Wrapper("eio", "error input output"),
    "unbuffer": _Wrapper(),
    "time": _Wrapper("fo", "format output"),
    "exec": _Wrapper("a"),
    "builtin": _Wrapper(),
    "command": _Wrapper(),
    "xargs": _Wrapper("adEIiLlnPs", "arg-file delimiter max-lines max-args max-procs max-chars replace"),
    "parallel": _Wrapper("jINn", "jobs"),
    "flock": _Wrapper("wE", "timeout wait conflict-exit-code", 1),
    "chroot": _Wrapper("", "userspec groups", 1),
    "nsenter": _Wrapper("tSG", "target"),
    "unshare": _Wrapper("RwSG"),
    "runuser": _Wrapper("ugG", "user group"),
    "systemd-run": _Wrapper("pu", "unit property uid gid slice"),
    "strace": _Wrapper("eopsuP"),
    "watch": _Wrapper("n", "interval"),
    "busybox": _Wrapper(),
    "toybox": _Wrapper(),
    "ssh": _Wrapper("BbcDEeFIiJLlmOopQRSWw", "", 1),
}


def looks_destructive(command: str) -> str | None:
    """What in the command looks as if it could not be undone; None where nothing does."""
    text = command[:_READ]
    return "drop" if _SQL.search(text) else _look(text, _DEPTH)


def _look(text: str, depth: int) -> str | None:
    if depth <= 0:
        return None
    for words, inner in _commands(text):
        found = _judge(words, depth) or next(filter(None, (_look(each, depth - 1) for each in inner)), None)
        if found:
            return found
    return None


def _commands(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """The simple commands of a shell's text: the words of each, before them `>` where it overwrites a disk or a file
    of the system, and what is run within its quotes."""
    words: list[str] = []
    inner: list[str] = []
    word: list[str] | None = None
    redirect = ""

    def finish() -> None:
        nonlocal word, redirect
        if word is not None:
            whole = "".join(word)
            if not redirect:
                words.append(whole)
            elif ">" in redirect and (
                DISK.match(whole)
                or whole == "/proc/sysrq-trigger"
                or (">>" not in redirect and SYSTEM.match(whole))
            ):
                words.insert(0, ">")
            word, redirect = None, ""

    for token in _TOKEN.finditer(text):
        kind, value = token.lastgroup, token[token.lastgroup or 0]
        match kind:
            case "joined" | "comment":
                continue
            case "escaped" | "single" | "double" | "plain":
                word = word if word is not None else []
                word.append(value)
                if kind == "double" and (start := _SUBSTITUTION.search(value)):
                    # All that comes after its beginning: its end is hard to find, and others are in it.
                    inner.append(value[start.end() :])
            case "space":
                finish()
            case "redirect":
                if word is not None and not "".join(word).isdigit():
                    finish()
                word, redirect = None, value
            case _:
                finish()
                redirect = ""
                yield words, inner
                words, inner = [], []
    finish()
    yield words, inner


def _judge(words: Sequence[str], depth: int) -> str | None:
    """Whether one simple command looks destructive."""
    if depth <= 0:
        return None
    rest = list(dropwhile(lambda word: word in _KEYWORDS or _ASSIGNMENT.match(word), words))
    if not rest:
        return None
    path, *arguments = rest
    name = path.rpartition("/")[2]
    if path.startswith("/etc/init.d/"):
        name, arguments = "service", [name, *arguments]
    if name in _SHELLS or name in ("su", "script"):
        return _of_shell(name, arguments, depth)
    if name in ("eval", "trap"):
        return _look(" ".join(arguments) if name == "eval" else arguments[0] if arguments else "", depth - 1)
    if name == "find":
        return _of_find(arguments, depth)
    if name == "command" and arguments and re.match(r"-p?[vV]", arguments[0]):
        return None
    if (wrapper := _WRAPPERS.get(name)) is not None:
        return _of_wrapper(name, wrapper, arguments, depth)
    if name in ("docker", "podman", "nerdctl", "kubectl", "oc") and "exec" in arguments:
        return _of_container(arguments, depth)
    if name.startswith("mkfs"):
        return "mkfs"
    rule = RULES.get(name)
    return name if rule is not None and rule(arguments) else None


def _of_shell(name: str, arguments: Sequence[str], depth: int) -> str | None:
    """`sh -c 'rm x'`: the word after the option is a command."""
    for place, argument in enumerate(arguments):
        if argument in ("-c", "--command") or re.fullmatch(r"-[A-Za-z]*c", argument):
            given = [each for each in arguments[place + 1 :] if each == "-" or not each.startswith("-")]
            return _look(given[0], depth - 1) if given else None
        if argument.startswith("--command="):
            return _look(argument.partition("=")[2], depth - 1)
        if name in _SHELLS and not argument.startswith(("-", "+")):
            return None
    return None


def _of_find(arguments: Sequence[str], depth: int) -> str | None:
    if "-delete" in arguments:
        return "find -delete"
    for place, argument in enumerate(arguments):
        if argument in ("-exec", "-execdir", "-ok", "-okdir"):
            # Its end, `;` or `+`, is no word of a command.
            found = _judge([each for each in arguments[place + 1 :] if each != "+"], depth - 1)
            if found:
                return found
    return None


def _of_wrapper(name: str, wrapper: _Wrapper, arguments: Sequence[str], depth: int) -> str | None:
    rest = deque(arguments)
    names = wrapper.names.split()
    before = wrapper.words
    while rest:
        option = rest[0]
        if option == "--":
            rest.popleft()
        elif option.startswith("--"):
            rest.popleft()
            if option[2:] in names and rest:
                rest.popleft()
            continue
        elif option.startswith("-") and len(option) > 1:
            if name == "env" and option.startswith("-S"):
                return _look(" ".join([option[2:], *list(rest)[1:]]), depth - 1)
            if option[-1] == "c" and name in ("flock", "runuser"):
                return _look(" ".join(list(rest)[1:2]), depth - 1)
            rest.popleft()
            if option[-1] in wrapper.letters and rest and not _holds_value(option, wrapper.letters):
                rest.popleft()
            continue
        elif _ASSIGNMENT.match(option):
            rest.popleft()
            continue
        if not before:
            break
        if option != "--":
            rest.popleft()
            before -= 1
    if name in ("ssh", "watch"):
        return _look(" ".join(rest), depth - 1)
    return _judge(list(rest), depth - 1)


def _holds_value(option: str, letters: str) -> bool:
    """Whether a group of short options has the value in it: `-c3`, `-uroot`."""
    return any(letter in letters for letter in option[1:-1])


def _of_container(arguments: Sequence[str], depth: int) -> str | None:
    """`docker exec -it name rm x`, `kubectl exec pod -- rm x`."""
    rest = list(arguments[list(arguments).index("exec") + 1 :])
    if "--" in rest:
        return _judge(rest[rest.index("--") + 1 :], depth - 1)
    return _of_wrapper("exec", _Wrapper("euw", "env user workdir", 1), rest, depth)
