"""A clock that tests set: the wall clock of the programs that are started with its environment (libfaketime). Their steady
clock stays the machine's."""

import tempfile
from pathlib import Path

from tests.support.waiting import pause

_READ_SECONDS = 1
"""So often a program looks what the time is set to."""
_LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def missing() -> str | None:
    """What this machine lacks for it, as a sentence; None when clocks can be set."""
    return "libfaketime is not installed (Debian: apt install faketime)" if _LIBRARY is None else None


def offset(hours: float) -> dict[str, str]:
    """The environment of a program whose clock is so many hours ahead, for good."""
    return {**_environment(), "FAKETIME": f"{hours * 3600:+f}"}


def _environment() -> dict[str, str]:
    assert _LIBRARY is not None, missing()
    return {
        "LD_PRELOAD": str(_LIBRARY),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Else each wait with a limit (pthread_cond_timedwait(3)) is much longer than it says.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }


class Clock:
    """A clock of its own. `close` it after the programs that have it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="testum-clock-")
        self._file = Path(self._folder.name) / "offset"
        # Also programs of other users read it.
        Path(self._folder.name).chmod(0o755)
        self._write(0)

    def set(self, seconds: float) -> None:
        """Set it so many seconds ahead of the machine's, and wait until every program has it: PostgreSQL measures by it for how
        long a transaction is idle, and would end one in whose midst it jumps."""
        self._write(seconds)
        pause(_READ_SECONDS)

    def _write(self, seconds: float) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+f}\n")
        new.replace(self._file)

    def environment(self) -> dict[str, str]:
        """Who is started with it has this clock."""
        return {
            **_environment(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(_READ_SECONDS),
            "FAKETIME_DONT_RESET": "1",
        }

    def close(self) -> None:
        """Remove its file."""
        self._folder.cleanup()
