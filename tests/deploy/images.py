"""The images of the exercise. testum's own is built from the real Dockerfile; what cannot be pulled where tests run is
stood in for by Debian packages, all in one image: Debian 12 with its Python is the base, and PostgreSQL, Redis and an
S3 server (OpenStack Swift) behave as docker-compose.yml expects of the real images.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from packaging.markers import Marker

from tests.deploy import daemon as docker
from tests.deploy.daemon import Daemon, run, said
from tests.support import s3

ROOT = Path(__file__).parents[2]
STANDINS = Path(__file__).parent / "standins"
BASE = "standin-python:3.11"
TESTUM = "testum:exercise"
SERVERS = ("postgres", "redis", "s3")

_PACKAGES = (
    "base-files,base-passwd,busybox-static,coreutils,dash,findutils,grep,hostname,postgresql,python3,python3-venv,"
    "redis-server,sed"
)
_PYTHON = "3.11.2"
"""Debian's, which is that of the containers."""
# Packages are extracted, but not configured: half of the time.
_EXTRACT = [
    *("mmdebstrap", "--quiet", "--variant=extract", f"--include={_PACKAGES}"),
    # Half of it: PostgreSQL's compiler of expressions, which it does without, and what nobody reads.
    '--extract-hook=rm -rf "$1"/usr/lib/*/libLLVM* "$1"/usr/lib/llvm* "$1"/usr/lib/postgresql/*/lib/bitcode '
    '"$1"/usr/share/doc "$1"/usr/share/man "$1"/usr/share/locale',
    # What configuring would have done: without byte code each start would compile all that it imports.
    '--extract-hook=chroot "$1" python3 -m compileall -q /usr/lib/python3 /usr/lib/python3.11',
    "bookworm",
]


def debian() -> Path:
    """Debian with the packages of the stand-ins, as a tar file."""
    return _kept("debian", ".tar", repr(_EXTRACT).encode(), _EXTRACT)


def wheels() -> Path:
    """A folder with the Python packages of testum's own image."""
    locks = [(ROOT / name).read_text() for name in ("requirements.lock", "requirements-build.lock")]
    wanted = "\n".join(dict.fromkeys(part for lock in locks for part in _for_debian(lock)))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--python-version", "3.11"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(wanted)
        file.flush()
        return _kept("wheels", "", wanted.encode(), [*command, "--requirement", file.name, "--dest"])


def _for_debian(lock: str) -> Iterator[str]:
    """The packages of a lock that Debian's Python wants; pip itself would ask which Python runs it."""
    for part in re.split(r"\n(?=\w)", lock):
        marker = re.match(r"\S+( ; (.+)) \\\n", part)
        if marker is None:
            yield part
        elif Marker(marker[2]).evaluate({"python_full_version": _PYTHON}):
            yield part.replace(marker[1], "", 1)


def _kept(name: str, suffix: str, made_of: bytes, command: Sequence[str]) -> Path:
    """What the command fetches into the place that is its last word. It is kept in `build`, like all packages that the
    tests need, and fetched where it is not there."""
    kept = ROOT / "build" / f"{name}-{hashlib.sha256(made_of).hexdigest()[:12]}{suffix}"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"testum-{name}-", dir=kept.parent) as folder:
            fetched = Path(folder) / kept.name
            said(run([*command, str(fetched)], os.environ))
            for old in kept.parent.glob(f"{name}-*"):
                old.rename(Path(folder) / old.name)
            fetched.rename(kept)
    return kept


@contextmanager
def _index(folder: Path) -> Iterator[str]:
    """The address on the loopback where pip finds the packages in a folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def build(daemon: Daemon, folder: Path) -> None:
    """Make all images in the daemon's storage; `folder` holds what is needed meanwhile."""
    daemon.docker("import", str(debian()), "standin-debian:1")
    context = folder / "context"
    shutil.copytree(STANDINS, context)
    # The real base has them.
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", context)
    # testum's own installs many packages: the servers' are built meanwhile.
    with _index(wheels()) as url, ThreadPoolExecutor(2) as pool:
        (context / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {url}\n")
        _stand_in(daemon, context, "base", BASE)
        # The network is the host's, for its loopback: nothing is fetched from elsewhere.
        own = ["build", "--network", "host", "--build-arg", f"BASE={BASE}", "--tag", TESTUM, str(ROOT)]
        built = pool.submit(daemon.docker, *own)
        for name in SERVERS:
            if name == "s3":
                # Not before: all of the folder goes to the daemon each time.
                shutil.copy(s3.LAUNCHER, context)
                shutil.copytree(
                    s3.VENV / "lib" / "python3.11" / "site-packages",
                    context / "swift",
                    ignore=shutil.ignore_patterns("pip"),
                )
            _stand_in(daemon, context, name, f"standin-{name}:1")
        built.result()


def _stand_in(daemon: Daemon, context: Path, target: str, tag: str) -> None:
    daemon.docker("build", "--network", "none", "--target", target, "--tag", tag, str(context))


if __name__ == "__main__":
    if (reason := docker.missing()) is None:
        debian()
        wheels()
    else:
        print(reason)
