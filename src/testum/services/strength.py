"""How soon a password is guessed, by zxcvbn's lists of passwords, names and words (Wheeler, USENIX Security 2016).

It is asked in a process of its own: its lists take 15 MB of memory, which is seldom needed, and it may take half a second.
"""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from testum.errors import Throttled

_MAX_ASKED = 32
"""Characters that are looked at: who has to guess so many has enough to do, and each more takes longer."""
_SECONDS = 20.0
_RETRY_SECONDS = 10
_CYRILLIC = "йцукенгшщзхъфывапролджэячсмитьбюё"
_LATIN = "qwertyuiop[]asdfghjkl;'zxcvbnm,.`"
_SAME_KEYS = str.maketrans(_CYRILLIC, _LATIN)
"""Words that are typed on a Russian keyboard are in the lists as they come from an English one."""


_turns = ThreadPoolExecutor(2, "strength")
"""So many are asked about at once; others wait."""


async def decades_of_guesses(password: str, names: Sequence[str]) -> float:
    """The logarithm to base 10 of how many guesses somebody needs who knows the names. Raises Throttled where that cannot be
    found out now."""
    asked = json.dumps([password[:_MAX_ASKED], list(names)])
    try:
        return await asyncio.get_running_loop().run_in_executor(_turns, _ask, asked)
    except (OSError, ValueError, subprocess.SubprocessError):
        raise Throttled(
            f"The password cannot be judged now. Try again in {_RETRY_SECONDS} seconds.",
            retry_after=_RETRY_SECONDS,
        ) from None


def _ask(asked: str) -> float:
    """Raises OSError, ValueError, subprocess.SubprocessError."""
    answer = subprocess.run(  # noqa: S603 - this very file
        [sys.executable, "-I", "-m", __name__],
        input=asked.encode(),
        capture_output=True,
        timeout=_SECONDS,
        check=True,
    )
    return float(answer.stdout)


def parts_of(name: str) -> list[str]:
    """A name, and the words in it."""
    return [name, *(word for word in re.split(r"[\W\d_]+", name) if len(word) > 2)]


def _answer() -> None:
    from zxcvbn import zxcvbn

    password, names = json.loads(sys.stdin.read())
    forms = {password, password.lower().translate(_SAME_KEYS)}
    sys.stdout.write(str(min(float(zxcvbn(form, names)["guesses_log10"]) for form in forms)))


if __name__ == "__main__":
    _answer()
