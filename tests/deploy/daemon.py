"""A private Docker daemon for tests: own socket, own storage, and namespaces of its own for processes and mounts, so
that nothing of it outlives it. It needs root, like dockerd itself.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.waiting import until

PROGRAMS = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "docker-compose": "docker-compose",
    "mmdebstrap": "mmdebstrap",
    "iptables": "iptables",
    "unshare": "util-linux",
}
"""What the exercise needs, and the Debian package that has it."""


def missing() -> str | None:
    """What this machine lacks for Docker, as a sentence; None when it can run."""
    lacking = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if not lacking:
        return None
    return f"Docker is not complete (Debian: apt install {' '.join(dict.fromkeys(lacking))})"


class Daemon:
    """A dockerd that is started. With `networks` it makes bridges and addresses, which is right only within a network
    namespace of its own; without, containers have the host's network or none.

    The next one with the same `storage` has the images of the last.
    """

    def __init__(self, folder: Path, storage: Path, *, networks: bool) -> None:
        self._folder = folder
        self.socket = folder / "docker.sock"
        self.log = folder / "dockerd.log"
        options = [
            *("--host", f"unix://{self.socket}", "--data-root", str(storage)),
            *("--exec-root", str(folder / "exec"), "--pidfile", str(folder / "dockerd.pid")),
        ]
        if not networks:
            options += ["--iptables=false", "--ip6tables=false", "--bridge=none"]
        # If we are killed, so is unshare, and with it the first process of the namespace and so all in it.
        namespace = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", *namespace]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "dockerd", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _wait(self, seconds: float = 60) -> None:
        def decided() -> bool:
            return self._process.poll() is not None or self.try_docker("version").returncode == 0

        with suppress(AssertionError):
            until(decided, seconds)
        if self._process.poll() is not None or self.try_docker("version").returncode != 0:
            self.close()
            raise RuntimeError(f"dockerd does not start here:\n{self.log.read_text()[-3000:]}")

    @property
    def env(self) -> dict[str, str]:
        """The environment in which Docker's programs find it, and no other."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        return {
            **inherited,
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self._folder / "config"),
            # What Debian's packages have; later ones put BuildKit into a plug-in of its own.
            "DOCKER_BUILDKIT": "0",
        }

    def try_docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `docker`; what it said, also if it failed."""
        return run(["docker", *arguments], self.env)

    def docker(self, *arguments: str) -> str:
        """Run `docker`; what it printed. Fails if it does."""
        return said(self.try_docker(*arguments))

    def inspect(self, name: str) -> Any:
        """All that Docker knows of a container or an image."""
        return json.loads(self.docker("inspect", name))[0]

    def close(self) -> None:
        """End it in order, and what is left of it at once."""
        pidfile = self._folder / "dockerd.pid"
        if self._process.poll() is None and pidfile.exists():
            # To its child, which is dockerd: unshare itself passes nothing on.
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
            for child in children.split():
                os.kill(int(child), signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        self._process.kill()
        self._process.wait(10)

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def run(
    command: Sequence[str], env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; what it said, together and in order."""
    return subprocess.run(
        command,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a program said; fails if it failed."""
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(done.args)} failed ({done.returncode}):\n{done.stdout[-4000:]}")
    return done.stdout
