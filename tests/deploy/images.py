"""The images of the exercise. testum's own is built from the real Dockerfile; what cannot be pulled where tests run is
stood in for by Debian packages, all in one image: Debian 12 with its Python is the base, and PostgreSQL, Redis and an
S3 server (OpenStack Swift) behave as docker-compose.yml expects of the real images.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.deploy import daemon as docker
from tests.deploy.daemon import Daemon, said
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


_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
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
    """Debian with the packages of the stand-ins, as a tar file. It is kept in `build`, like all packages that the tests
    need, and made where it is not there."""
    made = ROOT / "build" / f"debian-{hashlib.sha256(repr(_EXTRACT).encode()).hexdigest()[:12]}.tar"
    if not made.exists():
        made.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="testum-debian-", dir=made.parent) as folder:
            tar = Path(folder) / "debian.tar"
            done = subprocess.run(
                [*_EXTRACT, str(tar)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            said(done)
            for old in made.parent.glob("debian-*.tar"):
                old.unlink()
            tar.rename(made)
    return made


def build(daemon: Daemon, folder: Path) -> None:
    """Make all images in the daemon's storage; `folder` holds what is needed meanwhile."""
    daemon.docker("import", str(debian()), "standin-debian:1")
    context = folder / "context"
    shutil.copytree(STANDINS, context)
    (context / "pip.conf").write_text(_pip_settings())
    # Where a proxy of one's own opens TLS, its certificate is among the machine's.
    shutil.copy(_CERTIFICATES, context)
    _stand_in(daemon, context, "base", BASE)
    # The network is the host's, where the package index is within reach.
    own = ["build", "--network", "host", "--build-arg", f"BASE={BASE}", "--tag", TESTUM, str(ROOT)]
    # testum's own waits for the index: the servers' are built meanwhile.
    with ThreadPoolExecutor(2) as pool:
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


def _pip_settings() -> str:
    """How pip finds packages on this machine, for pip in the container; without folders that are not there."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    wanted = ("index-url", "extra-index-url", "trusted-host", "proxy")
    lines = ["[global]", f"cert = {_CERTIFICATES}"]
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        kept = " ".join(word for word in value.strip("'").split() if not word.startswith("file:"))
        if kept and name.startswith(("global.", "install.", ":env:")) and name.endswith(wanted):
            lines.append(f"{name.rpartition('.')[2].rpartition(':')[2]} = {kept}")
    return "\n".join(dict.fromkeys(lines)) + "\n"


if __name__ == "__main__":
    if (reason := docker.missing()) is None:
        debian()
    else:
        print(reason)
