"""How soon a password is guessed, by zxcvbn's lists of passwords, names and words (Wheeler, USENIX Security 2016).

It is asked in a process of its own: its lists take 15 MB of memory, which is seldom needed, and it may take half a second.
"""

import json
import re
import sys
from collections.abc import Sequence

from testum.errors import Throttled
from testum.services import separate_process

_MAX_ASKED = 32
"""Characters that are looked at: who has to guess so many has enough to do, and each more takes longer."""
_SECONDS = 20.0
_RETRY_SECONDS = 10
_CYRILLIC = "йцукенгшщзхъфывапролджэячсмитьбюё"
_LATIN = "qwertyuiop[]asdfghjkl;'zxcvbnm,.`"
_SAME_KEYS = str.maketrans(_CYRILLIC, _LATIN)
"""Words that are typed on a Russian keyboard are in the lists as they come from an English one."""


async def decades_of_guesses(password: str, names: Sequence[str]) -> float:
    """The logarithm to base 10 of how many guesses somebody needs who knows the names. Raises Throttled where that cannot be
    found out now."""
    asked = json.dumps([password[:_MAX_ASKED], list(names)])
    try:
        return float(await separate_process.ask(__name__, asked.encode(), seconds=_SECONDS))
    except (separate_process.Failed, ValueError):
        raise Throttled(
            f"The password cannot be judged now. Try again in {_RETRY_SECONDS} seconds.",
            retry_after=_RETRY_SECONDS,
        ) from None


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
