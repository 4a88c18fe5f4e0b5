"""The images of the exercise. testum's own is built from the real Dockerfile; what cannot be pulled where tests run is
stood in for by Debian packages, all in one image: Debian 12 with its Python is the base, and PostgreSQL, Redis and an
S3 server (OpenStack Swift) behave as docker-compose.yml expects of the real images.
"""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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


def build(daemon: Daemon, folder: Path) -> None:
    """Make all images in the daemon's storage; `folder` holds what is needed meanwhile."""
    pip = folder / "pip.conf"
    pip.write_text(_pip_settings())
    # The certificates too: where a proxy of one's own opens TLS, its certificate is among the machine's. Packages are
    # extracted, but not configured: half of the time.
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    made = subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=extract", f"--include={_PACKAGES}"),
            f'--extract-hook=cp {pip} "$1/etc/pip.conf"',
            # Half of it: PostgreSQL's compiler of expressions, which it does without, and what nobody reads.
            '--extract-hook=rm -rf "$1"/usr/lib/*/libLLVM* "$1"/usr/lib/llvm* "$1"/usr/lib/postgresql/*/lib/bitcode '
            '"$1"/usr/share/doc "$1"/usr/share/man "$1"/usr/share/locale',
            f'--extract-hook=install -D {certificates} "$1{certificates}"',
            *("bookworm", str(folder / "base.tar")),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    said(made)
    daemon.docker("import", str(folder / "base.tar"), "standin-debian:1")
    context = folder / "context"
    shutil.copytree(STANDINS, context)
    _stand_in(daemon, context, "base", BASE)
    shutil.copy(s3.LAUNCHER, context)
    shutil.copytree(
        s3.VENV / "lib" / "python3.11" / "site-packages",
        context / "swift",
        ignore=shutil.ignore_patterns("pip"),
    )
    # The network is the host's, where the package index is within reach.
    own = ["build", "--network", "host", "--build-arg", f"BASE={BASE}", "--tag", TESTUM, str(ROOT)]
    # testum's own waits for the index: the servers' are built meanwhile.
    with ThreadPoolExecutor(2) as pool:
        built = pool.submit(daemon.docker, *own)
        for name in SERVERS:
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
    lines = ["[global]", "cert = /etc/ssl/certs/ca-certificates.crt"]
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        kept = " ".join(word for word in value.strip("'").split() if not word.startswith("file:"))
        if kept and name.startswith(("global.", "install.", ":env:")) and name.endswith(wanted):
            lines.append(f"{name.rpartition('.')[2].rpartition(':')[2]} = {kept}")
    return "\n".join(dict.fromkeys(lines)) + "\n"
