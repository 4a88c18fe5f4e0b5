"""How soon a password is guessed, by zxcvbn's lists of passwords, names and words (Wheeler, USENIX Security 2016).

It is asked in a process of its own: its lists take 15 MB of memory, which is seldom needed, and it may take half a second.
"""

import asyncio
import json
import re
import sys
from collections.abc import Sequence

_MAX_ASKED = 40
"""Characters that are looked at: who has to guess so many has enough to do, and each more takes longer."""
_SECONDS = 20.0
_CYRILLIC = "йцукенгшщзхъфывапролджэячсмитьбюё"
_LATIN = "qwertyuiop[]asdfghjkl;'zxcvbnm,.`"
_SAME_KEYS = str.maketrans(_CYRILLIC, _LATIN)
"""Words that are typed on a Russian keyboard are in the lists as they come from an English one."""


async def decades_of_guesses(password: str, names: Sequence[str]) -> float:
    """The logarithm to base 10 of how many guesses somebody needs who knows the names. Raises OSError where no process can be
    started, TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    asked = json.dumps([password[:_MAX_ASKED], list(names)])
    try:
        async with asyncio.timeout(_SECONDS):
            answer, _ = await process.communicate(asked.encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return float(answer)


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
