"""The real OpenSSH server for tests and benchmarks: own configuration, own host keys, own login users.

Needs root, because only root's sshd can log other users in. Everything it starts is stopped by pid, and
the users it makes are removed, also when the run is interrupted (atexit).
"""

import atexit
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import until

SSHD = "/usr/sbin/sshd"
MAX_ADDRESSES = 16
"""sshd takes no more ListenAddress lines (MAX_LISTEN_SOCKS)."""


def free_port() -> int:
    """A TCP port of the loopback that is free now. None that the system gives to connections of its own choice
    (ip(7), ip_local_port_range): it might be gone before it is used. Nor one that a neighbour of pytest-xdist may
    choose meanwhile."""
    neighbours = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % neighbours
    while True:
        port = 10_000 + own + neighbours * secrets.randbelow(22_000 // neighbours)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def run(*command: str, text: str | None = None, check: bool = True) -> str:
    """Run a program to its end; its output is returned."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class LoginUser:
    """A system user made for one test run; /bin/sh is its shell where the shell is not the point, because that reads no
    start-up files."""

    def __init__(self, password: str | None = None, shell: str = "/bin/sh") -> None:
        if os.geteuid() != 0:
            raise RuntimeError("these tests need root: they make login users for a real sshd")
        # Letters alone: tests look for numbers in the command lines of its processes, and sshd's bear the name.
        self.name = f"testum-t-{''.join(secrets.choice('ghijkmnpqrstuvwxyz') for _ in range(8))}"
        self.password = password or secrets.token_urlsafe(9)
        hashed = run("openssl", "passwd", "-6", "-stdin", text=self.password).strip()
        refused: list[RuntimeError] = []

        def added() -> bool:
            try:
                run("useradd", "-m", "-s", shell, "-p", hashed, self.name)
            except RuntimeError as error:
                # Another worker may hold the lock of /etc/passwd.
                refused.append(error)
                return False
            return True

        until(added, otherwise=lambda: refused[-1])
        entry = pwd.getpwnam(self.name)
        self.uid, self.gid, self.home = entry.pw_uid, entry.pw_gid, Path(entry.pw_dir)
        atexit.register(self.remove)

    def processes(self) -> list[int]:
        """The pids of all its processes that are not zombies."""
        found = []
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                text = status.read_text()
            except OSError:
                continue
            if f"\nUid:\t{self.uid}\t" in text and "\nState:\tZ" not in text:
                found.append(int(status.parent.name))
        return found

    def kill_all(self) -> None:
        """End all its processes."""
        try:
            owner = pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return
        # Another worker's user gets the number as soon as this one is removed.
        if owner == self.name:
            _kill(self.processes())

    def remove(self) -> None:
        """Remove the user and its home."""
        atexit.unregister(self.remove)
        self.kill_all()

        def removed() -> bool:
            done = subprocess.run(["userdel", "-r", self.name], capture_output=True, check=False)
            if done.returncode in (0, 6):
                return True
            self.kill_all()
            return False

        until(removed)
        shutil.rmtree(self.home, ignore_errors=True)


class RealSshd:
    """One sshd on up to 16 addresses of the loopback.

    `addresses`: how many (127.0.0.1, 127.0.0.2 ...). `everywhere` listens on all addresses instead: right
    only within a network namespace of its own, where all there is is the loopback.
    """

    def __init__(
        self,
        *,
        user: LoginUser | None = None,
        addresses: int = 1,
        everywhere: bool = False,
        options: Iterable[str] = (),
        pam: bool = False,
        host_key: str = "ed25519",
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="testum-sshd-"))
        self.folder.chmod(0o755)
        self._own_user = user is None
        self.user = user or LoginUser()
        self.port = free_port()
        self._everywhere = everywhere
        self._addresses = ["0.0.0.0"] if everywhere else [self.address(n) for n in range(min(addresses, 16))]
        self._options = list(options)
        self._pam = pam
        self._host_key_type = host_key
        self._process: subprocess.Popen[bytes] | None = None
        self.authorized_keys = self.folder / "authorized_keys"
        self.authorized_keys.write_text("")
        self.authorized_keys.chmod(0o644)
        self.new_host_key()
        atexit.register(self.close)
        self.start()

    @staticmethod
    def address(number: int) -> str:
        """The loopback's `number`th address."""
        return f"127.0.{number // 250}.{number % 250 + 1}"

    @property
    def host_key_line(self) -> str:
        """The host's public key, without comment."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    def new_host_key(self, kind: str | None = None) -> None:
        """Make another host key; takes effect with the next start."""
        for name in ("host_key", "host_key.pub"):
            (self.folder / name).unlink(missing_ok=True)
        kind = kind or self._host_key_type
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(self.folder / "host_key"))

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "config"
        lines = [
            f"Port {self.port}",
            *(f"ListenAddress {address}" for address in self._addresses),
            f"HostKey {self.folder / 'host_key'}",
            f"PidFile {self.folder / 'pid'}",
            f"AuthorizedKeysFile {self.authorized_keys} .ssh/authorized_keys",
            *self._options,
            "StrictModes no",
            f"UsePAM {'yes' if self._pam else 'no'}",
            f"PasswordAuthentication {'no' if self._pam else 'yes'}",
            f"KbdInteractiveAuthentication {'yes' if self._pam else 'no'}",
            "MaxStartups 1000:30:2000",
            "MaxSessions 100",
            "MaxAuthTries 20",
            "UseDNS no",
            "PrintMotd no",
            "LogLevel ERROR",
        ]
        config.write_text("\n".join(lines) + "\n")
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stdout=log, stderr=log)
        log.close()
        until(self._answers)

    def _answers(self) -> bool:
        """Whether it accepts connections. Raises RuntimeError where it has ended."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"sshd did not start: {(self.folder / 'log').read_text()}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def add_key(self, line: str) -> None:
        """Let this public key log in."""
        with self.authorized_keys.open("a") as file:
            file.write(line.strip() + "\n")

    def sessions(self) -> list[int]:
        """The pids of the connections' server processes (not the listener)."""
        assert self._process is not None
        found, waiting = [], [self._process.pid]
        while waiting:
            parent = waiting.pop()
            children = run("ps", "-o", "pid=,comm=", "--ppid", str(parent), check=False).splitlines()
            for line in children:
                pid, _, name = line.strip().partition(" ")
                if name.strip().startswith("sshd"):
                    found.append(int(pid))
                    waiting.append(int(pid))
        return found

    def cut(self) -> int:
        """Kill every connection's server process, as a crash or a cut line would; how many there were."""
        pids = self.sessions()
        _kill(pids)
        return len(pids)

    def stop(self) -> None:
        """Stop listening and end all connections."""
        if self._process is not None:
            # First the listener: or a client whose connection is cut would be back before it has gone.
            pids = self.sessions()
            self._process.terminate()
            self._process.wait(10)
            self._process = None
            _kill(pids)

    def close(self) -> None:
        """Stop and leave nothing behind."""
        atexit.unregister(self.close)
        self.stop()
        if self._own_user:
            self.user.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
