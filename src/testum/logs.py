"""How the log looks: one line for an event, a plain traceback for an error."""

import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

if "rich" not in sys.modules:
    # structlog imports rich where it is installed, to draw tracebacks as they are not drawn here: a twentieth of a
    # start. None says that there is no such module (the import system's manual, on sys.modules).
    sys.modules["rich"] = None  # type: ignore[assignment]
    import_module("structlog")
    del sys.modules["rich"]

import structlog


class _Output:
    """Standard output, or nothing where it takes no more: on a full disk a line that cannot be written must
    not also break the work that it tells of."""

    def msg(self, message: str) -> None:
        """Write one line."""
        with suppress(OSError, ValueError):
            sys.stdout.write(message + "\n")
            sys.stdout.flush()

    debug = info = warning = error = critical = exception = log = msg


def _make_output(*_names: Any) -> _Output:
    return _Output()


def configure() -> None:
    """Set structlog up for this process.

    Its default shows the local variables of every frame of a traceback: passwords, tokens and keys among
    them; and drawing them holds the whole process up for seconds.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=_make_output,
    )
