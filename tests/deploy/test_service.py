"""`testum service`. That the units work on a real systemd was tried by hand (docs/guide/systemd.md says on which):
tests run where systemd is not the first process. Here systemd's own tools judge what would be installed.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import TESTUM
from tests.deploy.guide import code
from testum.cli.failures import WrongUse
from testum.cli.service_units import Place, web_unit, worker_unit

PLACE = Place(TESTUM, Path("/etc/testum/testum.env"), Path("/var/lib/testum"), "root")
HIGHEST_EXPOSURE = 1.5
"""Of 10, by systemd-analyze(1); a service without any of the restrictions has 9.6."""


def units_of(*arguments: str) -> dict[str, str]:
    """What `install --dry-run` prints, by the units' names."""
    ran = subprocess.run(
        [TESTUM, "service", "install", "--dry-run", *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    parts = re.split(r"^# /etc/systemd/system/(.*)$\n", ran.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def hidden(*arguments: str, files: str = "") -> subprocess.CompletedProcess[str]:
    """Run `testum service` where /etc and /run can be written without a trace: it must never touch the machine."""
    script = f"mount -t tmpfs none /run && mkdir -p /etc/systemd/system && mount -t tmpfs none /etc/systemd\n{files}\n"
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'set -e\n{script}exec "$@"', "sh", TESTUM, "service", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NOT RUN, what systemd says of the units: apt install systemd")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("port", ["8000", "443"])
def test_systemd_understands_the_units(tmp_path: Path, port: str) -> None:
    for name, text in units_of("--worker", "--queue", "dmz", "--port", port).items():
        # The system user is made by `install` only.
        (tmp_path / name).write_text(re.sub(r"^(User|Group)=testum$", r"\1=root", text, flags=re.MULTILINE))
        verified = analyze("verify", "--man=no", tmp_path / name)
        assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_systemd_finds_the_units_well_restricted(tmp_path: Path) -> None:
    for name, text in units_of("--worker").items():
        (tmp_path / name).write_text(text)
        said = analyze("security", "--offline=true", "--no-pager", tmp_path / name).stdout
        exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
        assert exposure is not None and float(exposure[1]) <= HIGHEST_EXPOSURE, said


def test_what_is_installed_follows_the_options() -> None:
    assert list(units_of()) == ["testum-web.service"]
    assert list(units_of("--no-web", "--queue", "dmz")) == ["testum-worker.service"]
    web = units_of("--host", "::1", "--port", "9000")["testum-web.service"]
    assert f"ExecStart={TESTUM} serve --host ::1 --port 9000\n" in web
    worker = units_of("--queue", "a", "--queue", "b", "--concurrency", "3")["testum-worker.service"]
    assert f"ExecStart={TESTUM} worker --queue a --queue b --concurrency 3\n" in worker


def test_each_gets_the_time_that_the_settings_leave_it(tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    settings.write_text('WORKER_DRAIN_SECONDS="300"\n')
    assert (
        "TimeoutStopSec=330\n" in units_of("--worker", "--settings", str(settings))["testum-worker.service"]
    )
    assert "TimeoutStopSec=90\n" in units_of("--worker")["testum-worker.service"]
    # Without a worker the web process does the work.
    assert "TimeoutStopSec=330\n" in units_of("--settings", str(settings))["testum-web.service"]


def test_odd_paths_are_one_word() -> None:
    place = Place(Path('/srv/a "b" %h $X/testum'), Path("/e"), Path("/var/lib/testum"), "testum")
    assert 'ExecStart="/srv/a \\"b\\" %%h $$X/testum" worker\n' in worker_unit(place, [], None, 60)
    with pytest.raises(WrongUse):
        web_unit(PLACE, "127.0.0.1\nUser=root", 8000, 60)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-web"], "leaves nothing to install"),
        (["--queue", "No Zone"], "is no name of a network zone"),
        (["--settings", "/nowhere"], "/nowhere: No such file or directory"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], message: str) -> None:
    ran = subprocess.run(
        [TESTUM, "service", "install", "--dry-run", *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2 and message in ran.stderr and ran.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_without_systemd_nothing_happens(command: str) -> None:
    ran = hidden(command)
    assert (ran.returncode, ran.stdout) == (2, "") and "systemd does not run on this machine" in ran.stderr


def test_without_rights_nothing_happens() -> None:
    # Another user's number, but still root's files: testum itself must be readable.
    files = "mkdir -p /run/systemd/system\nset -- unshare --user --map-user=1000 " + '"$@"'
    ran = hidden("install", files=files)
    assert ran.returncode == 2 and "needs root" in ran.stderr


def test_a_worker_without_its_servers_is_refused() -> None:
    ran = hidden("install", "--worker", files="mkdir -p /run/systemd/system")
    assert ran.returncode == 2 and "DATABASE_URL and CELERY_BROKER_URL must be in the settings" in ran.stderr


def test_a_data_directory_elsewhere_is_refused(tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    settings.write_text("DATA_DIR=data\n")
    ran = hidden("install", "--settings", str(settings), files="mkdir -p /run/systemd/system")
    assert ran.returncode == 2 and "DATA_DIR: services have their data in /var/lib/testum" in ran.stderr


def test_the_guide_shows_the_commands_that_there_are() -> None:
    commands = re.findall(
        r"^\$ sudo (?:/opt/testum/bin/)?testum (service .*?)(?:\s+#.*)?$",
        code("systemd.md", "console", "uninstall"),
        re.MULTILINE,
    )
    assert len(commands) >= 3
    for command in commands:
        ran = subprocess.run(
            [TESTUM, *command.split()[:2], "--help"], capture_output=True, text=True, check=True
        )
        options = re.findall(r"--[a-z-]+", command)
        assert all(option in ran.stdout for option in options), command
