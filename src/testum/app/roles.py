"""What processes are for."""

from enum import StrEnum


class Role(StrEnum):
    """What a process was started for. Where there are no workers, the web process does the work, too."""

    WEB = "web"
    WORKER = "worker"
