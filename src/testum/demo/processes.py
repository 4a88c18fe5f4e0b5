"""The processes of the demo hosts: started for an SSH channel, and surely ended.

Everything bears the demo's folder in its environment (`TESTUM_DEMO`), so that also what left its process
group, or outlived a demo that was killed, is found and ended where there is a /proc.
"""

import asyncio
import atexit
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncssh

_CHUNK = 64 * 1024
_CANNOT_START = 126
_STOP_SECONDS = 5
_SWEEPS = 40
_SWEEP_PAUSE = 0.05


class Processes:
    """All processes of one demo."""

    def __init__(self, folder: Path) -> None:
        self._mark = str(folder)
        self._groups: set[int] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._stopped = False

    def start(self) -> None:
        """End what a killed demo left in the same folder."""
        _end_marked(self._mark)
        # For an end that does not get as far as `stop`, such as a second Ctrl-C.
        atexit.register(self._end_all)

    async def stop(self) -> None:
        """End everything, and wait until it is gone."""
        self._stopped = True
        for group in self._groups:
            _kill(group)
        await asyncio.to_thread(_end_marked, self._mark)
        if self._running:
            await asyncio.wait(self._running, timeout=_STOP_SECONDS)
        atexit.unregister(self._end_all)

    async def serve(
        self, process: asyncssh.SSHServerProcess[bytes], home: Path, environment: Mapping[str, str]
    ) -> None:
        """Run what the channel asks for, from its start to its exit status.

        When the channel is closed before the command has ended, its process group is killed. What the
        command itself left in the background lives on, as on any host, until the demo ends.
        """
        task = asyncio.current_task()
        if task is None or self._stopped:
            process.close()
            return
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        command = ["/bin/sh"] if process.command is None else ["/bin/sh", "-c", process.command]
        try:
            child = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=home,
                env={**environment, "TESTUM_DEMO": self._mark},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            # A command longer than the system takes, or one with a NUL character in it.
            process.stderr.write(f"demo: cannot start: {error}\n".encode())
            process.exit(_CANNOT_START)
            return
        self._groups.add(child.pid)
        if self._stopped:
            _kill(child.pid)
        try:
            await _attend(process, child)
        finally:
            self._groups.discard(child.pid)

    def _end_all(self) -> None:
        for group in self._groups:
            _kill(group)
        _end_marked(self._mark)


async def _attend(process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
    assert child.stdin and child.stdout and child.stderr
    feeding = asyncio.create_task(_feed(process, child, child.stdin))
    ending: asyncio.Future[Any] = asyncio.gather(
        _drain(child.stdout, process.stdout), _drain(child.stderr, process.stderr), child.wait()
    )
    closed: asyncio.Future[Any] = asyncio.ensure_future(process.wait_closed())
    try:
        await asyncio.wait({ending, closed}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            _kill(child.pid)
            await ending
        elif child.returncode is not None and child.returncode < 0:
            process.exit_with_signal(_signal_name(-child.returncode))
        else:
            process.exit(child.returncode or 0)
    finally:
        feeding.cancel()
        closed.cancel()
        await asyncio.gather(feeding, ending, closed, return_exceptions=True)


async def _drain(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    """Pass all output on, no faster than the client takes it; to the end, also when nobody takes it
    any more: asyncio counts a process as ended only when its pipes are."""
    taken = True
    while data := await source.read(_CHUNK):
        if not taken:
            continue
        try:
            target.write(data)
            await target.drain()
        except (OSError, asyncssh.Error):
            taken = False


async def _feed(
    process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process, target: asyncio.StreamWriter
) -> None:
    """Pass input and signals on, no faster than the command takes them."""
    try:
        while True:
            try:
                data = await process.stdin.read(_CHUNK)
            except asyncssh.SignalReceived as received:
                number = getattr(signal, f"SIG{received.signal}", None)
                if number is not None:
                    _kill(child.pid, number)
                continue
            except (asyncssh.BreakReceived, asyncssh.TerminalSizeChanged):
                continue
            if not data:
                break
            target.write(data)
            await target.drain()
    except (OSError, asyncssh.Error):
        # The command does not read its input, or the channel is gone.
        pass
    finally:
        target.close()


def _signal_name(number: int) -> str:
    """SSH's name of a signal (RFC 4254, 6.10): without SIG."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"{number}@testum"


def _kill(group: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_marked(mark: str) -> None:
    """Kill all that bears the mark, again and again until a look finds nothing: it may be forking."""
    for _ in range(_SWEEPS):
        pids = _marked(mark)
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_SWEEP_PAUSE)


def _marked(mark: str) -> list[int]:
    """The processes that bear the mark. A zombie's environment is empty: it does not count."""
    wanted = b"\0" + os.fsencode(f"TESTUM_DEMO={mark}") + b"\0"
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes()
        except OSError:
            continue
        if wanted in b"\0" + environment and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found
