"""The image and docker-compose.yml for real, on a Docker daemon of the tests' own.

It happens in two parts, because the image is built with the host's loopback, where its packages are
(`images.wheels`), and what is built then runs in a network namespace of its own, where the daemon makes its networks
and publishes its ports without touching the machine's. The second part is `compose_steps.py`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.deploy import daemon, images
from tests.deploy.daemon import Daemon
from tests.support import s3

STEPS = Path(__file__).with_name("compose_steps.py")


@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_containers_run_jobs() -> None:
    if reason := daemon.missing() or s3.missing():
        pytest.skip(f"NOT RUN, the image and docker-compose.yml: {reason}")
    # Not pytest's own folder, which would be kept: it is two gigabytes.
    with tempfile.TemporaryDirectory(prefix="testum-docker-", dir=_memory()) as folder:
        storage = Path(folder) / "storage"
        with Daemon(Path(folder), storage, networks=False) as building:
            images.build(building, Path(folder))
        _run_steps(storage)


def _memory() -> str | None:
    """A folder in memory where there is plenty: Docker waits for the disk with each layer."""
    place, wanted = Path("/dev/shm"), 6 << 30
    if not place.is_dir() or psutil.virtual_memory().available < 2 * wanted:
        return None
    return str(place) if shutil.disk_usage(place).free > wanted else None


def _run_steps(storage: Path) -> None:
    namespace = ["--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
    # The steps build on each other: after one that fails the next say nothing.
    pytest_steps = [
        sys.executable,
        "-m",
        "pytest",
        "-vx",
        "--timeout=600",
        "-p",
        "no:cacheprovider",
        str(STEPS),
    ]
    done = subprocess.run(
        ["setpriv", "--pdeathsig", "KILL", "unshare", *namespace, *pytest_steps],
        env={**os.environ, "TESTUM_EXERCISE": str(storage)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=images.ROOT,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, "the steps failed; see above"
