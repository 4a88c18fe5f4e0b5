"""The text of testum's systemd units (systemd.service(5), systemd.exec(5)): what they run, and what they may do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testum.cli.failures import WrongUse

WEB, WORKER = "testum-web.service", "testum-worker.service"
NAMES = (WEB, WORKER)
DRAIN_SECONDS = 60
"""The default of WORKER_DRAIN_SECONDS; units that the settings make wait longer are given that."""
_ENDING_SECONDS = 30
"""Beyond the drain: to end on the hosts what was not finished."""
_LOWEST_FREE_PORT = 1024
_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where testum is and what it runs as. `data_dir` is a name below /var/lib, as systemd wants it."""

    program: Path
    settings_file: Path
    data_dir: Path
    user: str


def web_unit(place: Place, host: str, port: int, drain_seconds: float) -> str:
    """The unit of the web process, which does the work as well where there are no workers."""
    command = [str(place.program), "serve", "--host", host, "--port", str(port)]
    return _unit(
        "testum web server",
        place,
        command,
        stop_seconds=int(drain_seconds) + _ENDING_SECONDS,
        low_port=0 < port < _LOWEST_FREE_PORT,
    )


def worker_unit(place: Place, queues: Sequence[str], concurrency: int | None, drain_seconds: float) -> str:
    """The unit of the worker."""
    command = [str(place.program), "worker"]
    for queue in queues:
        command += ["--queue", queue]
    if concurrency is not None:
        command += ["--concurrency", str(concurrency)]
    return _unit("testum worker", place, command, stop_seconds=int(drain_seconds) + _ENDING_SECONDS)


def _unit(
    description: str, place: Place, command: Sequence[str], *, stop_seconds: int, low_port: bool = False
) -> str:
    # With a user namespace of its own a process cannot have this one right outside.
    capability = "CAP_NET_BIND_SERVICE" if low_port else ""
    return f"""\
# Made by `testum service install`. Changes of your own: systemctl edit.
[Unit]
Description={description}
Wants=network-online.target
After=network-online.target postgresql.service redis-server.service redis.service

[Service]
Type=exec
ExecStart={" ".join(_word(part) for part in command)}
EnvironmentFile={_word(str(place.settings_file))}
Environment=DATA_DIR={place.data_dir} PYTHONUNBUFFERED=1
User={place.user}
Group={place.user}
StateDirectory={place.data_dir.name}
StateDirectoryMode=0700
WorkingDirectory={place.data_dir}
UMask=0077
# What it needs may come up later than it, or be away for a while.
Restart=on-failure
RestartSec=3
# The main process ends its own; what is left after the time is killed.
KillMode=mixed
TimeoutStopSec={stop_seconds}
# Each SSH connection is a file.
LimitNOFILE=65536
TasksMax=1024

CapabilityBoundingSet={capability}
AmbientCapabilities={capability}
NoNewPrivileges=yes
PrivateUsers={"no" if low_port else "yes"}
PrivateDevices=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def _word(text: str) -> str:
    """One word of a command line as systemd reads it. Raises WrongUse."""
    if not text.isprintable():
        raise WrongUse(f"{text!r} cannot stand in a systemd unit.")
    doubled = text.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(doubled):
        return doubled
    return '"' + doubled.replace("\\", "\\\\").replace('"', '\\"') + '"'
