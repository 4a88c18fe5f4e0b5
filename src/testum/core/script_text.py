"""The text of scripts that shells read."""

import shlex
from pathlib import PurePosixPath

_SHELLS = frozenset(["sh", "bash", "dash", "ash", "ksh", "ksh93", "mksh", "zsh", "fish", "csh", "tcsh"])


def for_shell(text: str, interpreter: str) -> str:
    """The text as a shell reads it: where the interpreter is one, without a byte order mark, and with LF where every line
    ends in CR LF, of which a shell would take the CR for a part of the last word. Other programs get what was written."""
    try:
        words = shlex.split(interpreter)
    except ValueError:
        return text
    if not any(PurePosixPath(word).name in _SHELLS for word in words):
        return text
    text = text.removeprefix("\ufeff")
    if text.count("\n") == text.count("\r\n"):
        text = text.replace("\r\n", "\n").removesuffix("\r")
    return text
