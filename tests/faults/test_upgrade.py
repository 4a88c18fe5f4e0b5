"""A newer release upgrades the database while processes of this one are at work: they go on, and start again.

The newer release is this one with a migration more; the release before cannot stand for this one, as there is none.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import testum
from tests.support.server import Api, Process, Server
from tests.support.sshd import RealSshd
from tests.support.tools import unique
from tests.support.waiting import until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "9000"
down_revision = {before!r}
branch_labels = None
depends_on = None

oldest_code = {oldest!r}


def upgrade() -> None:
    op.create_table("later", sa.Column("id", sa.Integer, primary_key=True))
    op.add_column("jobs", sa.Column("later", sa.String(20), nullable=True))
    op.add_column("task_runs", sa.Column("later", sa.String(20), nullable=False, server_default="x"))


def downgrade() -> None:
    op.drop_column("task_runs", "later")
    op.drop_column("jobs", "later")
    op.drop_table("later")
"""


def upgrade(server: Server, folder: Path, *, suits: bool) -> None:
    """Bring the server's database up to date with a newer release, on whose schema this one's code works or not."""
    here = Path(testum.__file__).parent
    copy = folder / "testum"
    shutil.copytree(here, copy, ignore=shutil.ignore_patterns("__pycache__"))
    versions = copy / "db" / "migrations" / "versions"
    before = max(path.name for path in versions.glob("[0-9]*.py")).partition("_")[0]
    (versions / "9000_later.py").write_text(
        _MIGRATION.format(before=before, oldest=before if suits else "9000")
    )
    env = {**os.environ, **server.env, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "testum", "db", "upgrade"]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "9000" in done.stdout, (done.stdout, done.stderr)


@pytest.fixture
def own() -> Iterator[Server]:
    with Server(env={"LEASE_SECONDS": "6", "WORKER_PROCESSES": "1"}) as running:
        yield running


def children(server: Server) -> list[psutil.Process]:
    """The processes that the server's worker has for the work."""
    assert server.worker is not None
    worker = psutil.Process(server.worker.popen.pid)
    return [
        process
        for process in worker.children()
        if process.status() != psutil.STATUS_ZOMBIE and process.cmdline() == worker.cmdline()
    ]


def works(api: Api, platform_id: str) -> None:
    job = api.wait_job(api.start_job("echo on", targets={"platform_ids": [platform_id]}))
    assert job["status"] == "success", job


def test_processes_go_on_and_start_on_a_schema_that_suits_them(
    own: Server, real_sshd: RealSshd, tmp_path: Path
) -> None:
    api = own.client()
    mark = unique("tag")
    platforms = [api.add_platform(f"{mark}-{number}", real_sshd, tags=[mark]) for number in range(12)]
    gate = real_sshd.user.home / unique("gate")
    command = f"while [ ! -e {gate} ]; do sleep 0.1; done; echo done"
    under_way = api.start_job(command, targets={"tags": [mark]}, concurrency=3)
    until(lambda: api.get(f"/jobs/{under_way}")["counts"]["running"] == 3)
    upgrade(own, tmp_path, suits=True)
    gate.touch()
    # Nothing that was under way minds, nor what begins now.
    assert api.wait_job(under_way)["counts"]["success"] == 12
    works(api, platforms[0]["id"])
    # A process of a worker that dies is replaced, by code of the older release.
    (child,) = children(own)
    child.send_signal(signal.SIGKILL)
    until(lambda: [process.pid for process in children(own)] not in ([], [child.pid]), 60)
    works(api, platforms[0]["id"])
    # And all of it starts again.
    own.stop()
    own.start()
    works(own.client(), platforms[0]["id"])


@pytest.mark.slow
def test_a_schema_that_has_left_this_release_behind(own: Server, tmp_path: Path) -> None:
    upgrade(own, tmp_path, suits=False)
    late = Process(["worker"], own.env, own.data_dir, own.log)
    assert late.popen.wait(60) == 2
    assert "DATABASE_URL: the database is of a newer testum (schema 9000)" in own.log.read_text()
