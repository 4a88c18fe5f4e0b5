"""The tutorial of CONTRIBUTING.md: a capability is a folder and a line in a list, and leaves no trace when these are gone."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import testum

pytestmark = pytest.mark.embedded

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^`(src/testum/features/clocks/[\w./]+)`(?:(?!^`src/).)*?^```\w+\n(.*?)^```$", re.M | re.S
)
LIST = ("from testum.features.builtin import Builtin\n", "Builtin(), ")
DOCUMENT = """
import json, testum
from testum.installed import INSTALLED
from testum.settings import Settings
from testum.web.factory import build
app = build(Settings(_env_file=None), INSTALLED)
menu = [entry.label for entry in INSTALLED.menu]
print(json.dumps([testum.__file__, app.openapi(), menu, sorted(INSTALLED.task_errors)]))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of testum's sources."""
    shutil.copytree(
        Path(testum.__file__).parent,
        tmp_path / "src" / "testum",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return tmp_path


def run(copy: Path, *arguments: str) -> str:
    """What Python prints where the copy is the testum that is imported."""
    env = {**os.environ, "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=env,
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shown(copy: Path) -> list[object]:
    """What the copy shows to clients and people."""
    place, *found = json.loads(run(copy, "-c", DOCUMENT))
    assert place.startswith(str(copy))
    return list(found)


def test_the_tutorial(copy: Path) -> None:
    before = shown(copy)
    blocks = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()))
    assert len(blocks) == 7
    for name, text in blocks.items():
        path = copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    names = copy / "src" / "testum" / "features" / "__init__.py"
    known = names.read_text()
    imported, listed = LIST
    names.write_text(
        known.replace(imported, f"{imported}from testum.features.clocks import Clocks\n").replace(
            listed, f"{listed}Clocks(), "
        )
    )

    tests = copy / "src" / "testum" / "features" / "clocks"
    told = run(
        copy, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", str(tests)
    )
    assert "1 passed" in told
    run(copy, "-m", "ruff", "check", "--no-cache", "--config", str(ROOT / "pyproject.toml"), str(tests))
    with_it = json.dumps(shown(copy))
    assert all(word in with_it for word in ("check_clock", "Clocks", "clock_wrong"))

    shutil.rmtree(tests)
    names.write_text(known)
    assert shown(copy) == before
