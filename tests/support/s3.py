"""A private S3 server for tests: OpenStack Swift with its S3 API, on a free port of the loopback.

Swift has a virtual environment of its own (`.venv-s3`, made by the Makefile): its packages are not to mix with ours.
"""

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import httpx2
import obstore
from obstore.store import S3Store

from tests.support.sshd import free_port
from tests.support.tools import ask
from tests.support.waiting import until

VENV = Path(__file__).parents[2] / ".venv-s3"
LAUNCHER = Path(__file__).with_name("swift_server.py")


def missing() -> str | None:
    """What this machine lacks for an S3 server, as a sentence; None when it can run."""
    if not (VENV / ".ready").exists():
        return "OpenStack Swift, the tests' S3 server, is not installed: make .venv-s3/.ready"
    with tempfile.NamedTemporaryFile() as probe:
        try:
            os.setxattr(probe.name, "user.testum", b"")
        except OSError:
            return "The temporary folder's file system keeps no extended attributes, which Swift needs"
    return None


class S3Server:
    """One server, started, with one account. `start` after `stop` has the same data on the same port.

    Addresses are path-style (`http://ENDPOINT/BUCKET/KEY`) and the region must be right, as with the real S3.
    """

    region = "us-east-1"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="testum-s3-"))
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.access_key = "testum:tests"
        """Swift wants an account's and a user's name with a colon between."""
        self.secret_key = secrets.token_urlsafe(24)
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)
        self.start()

    def start(self, *, wait: float = 60.0) -> None:
        """Start, and wait until it answers."""
        port = self.endpoint.partition(":")[2]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    # Isolated (-I): the launcher's neighbours here are not to be imported for packages.
                    *(VENV / "bin" / "python", "-I", "-W", "ignore", LAUNCHER),
                    *(self.folder, port, self.access_key, self.secret_key),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        until(self._answers, wait, otherwise=lambda: f"the S3 server:\n{self.log.read_text()[-3000:]}")

    def _answers(self) -> bool:
        """Whether it answers. Raises RuntimeError where it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"the S3 server did not start:\n{self.log.read_text()[-3000:]}")
        try:
            ask("GET", f"http://{self.endpoint}", timeout=5)
        except httpx2.HTTPError:
            return False
        return True

    def store(self, bucket: str, *, secret_key: str | None = None) -> S3Store:
        """A client of one bucket; with another secret where one is given."""
        return S3Store(
            bucket,
            endpoint=f"http://{self.endpoint}",
            region=self.region,
            access_key_id=self.access_key,
            secret_access_key=secret_key or self.secret_key,
            client_options={"allow_http": True},
        )

    def create_bucket(self) -> str:
        """Create a bucket; its name."""
        name = f"bucket-{secrets.token_hex(6)}"
        # obstore creates no buckets, but signs any request: PUT of the bucket itself creates it.
        address = obstore.sign(self.store(name), "PUT", "", timedelta(minutes=5))
        ask("PUT", address, timeout=60).raise_for_status()
        return name

    def stop(self) -> None:
        """Stop at once, requests in progress with it. Swift has no other way: its data stays right."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def pause(self) -> None:
        """Let it hang: it takes connections and does not answer."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop and leave nothing behind."""
        atexit.unregister(self.close)
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "S3Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
