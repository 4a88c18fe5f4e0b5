"""How the suite itself fails. Where all is installed that tests need (`.ci/run`), none is left out, in whatever words it
asks for that."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = {
    "test_marked.py": "@pytest.mark.skip\ndef test(): pass",
    "test_under_way.py": "def test(): pytest.skip('no')",
    "test_may_fail.py": "@pytest.mark.xfail\ndef test(): assert False",
    "test_gives_up.py": "def test(): pytest.xfail('no')",
    "test_expected_to_fail.py": "@pytest.mark.xfail\ndef test(): pass",
    "test_whole_file.py": "pytest.skip('no', allow_module_level=True)",
    "test_missing.py": "pytest.importorskip('testum.nothing')",
}


HANGING = """
import pytest

from tests.support.waiting import until

@pytest.fixture
def hangs():
    yield
    until(lambda: False)

@pytest.mark.timeout(1)
def test(hangs):
    assert False
"""


def run_pytest(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The suite's own settings hold, but for the cache."""
    settings = ["-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *settings, *options, str(tmp_path)],
        env={**os.environ, "TESTUM_TESTS": "complete"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_tears_down_a_failed_test_may_not_hang(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    done = run_pytest(tmp_path)
    assert done.returncode == 1 and "1 failed, 1 error" in done.stdout, done.stdout
    assert "Timeout (>1.0s) from pytest-timeout" in done.stdout, done.stdout


def test_nothing_is_left_out(tmp_path: Path) -> None:
    for name, text in LEFT_OUT.items():
        (tmp_path / name).write_text(f"import pytest\n\n{text}\n")
    (tmp_path / "test_other.py").write_text("def test(): pass\n")
    done = run_pytest(tmp_path, "--continue-on-collection-errors", "-rA")
    summary = done.stdout.splitlines()
    assert done.returncode == 1, done.stdout
    for name in LEFT_OUT:
        assert any(line.startswith(("FAILED", "ERROR")) and name in line for line in summary), done.stdout
    assert summary[-1].startswith("=") and "1 passed" in summary[-1] and "skipped" not in summary[-1], summary
