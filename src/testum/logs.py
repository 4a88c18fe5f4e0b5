"""How the log looks: one line for an event, a plain traceback for an error."""

import sys

import structlog


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
        ]
    )
