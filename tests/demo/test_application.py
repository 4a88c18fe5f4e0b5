"""`testum demo` as a newcomer runs it."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import Api, Process
from tests.support.sshd import free_port
from tests.support.tools import healthy
from tests.support.waiting import until

HOSTS = {"web-01", "web-02", "web-03", "db-01", "cache-01", "build-01"}


class Demo:
    """A demo that runs."""

    def __init__(self, folder: Path, log: str = "demo.log") -> None:
        self.folder, self.log = folder, folder / log
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        env = {**os.environ, "DATA_DIR": str(folder / "data"), "ADMIN_PASSWORD": ""}
        self.process = Process(["demo", "--port", str(port)], env, folder, self.log, forked=False)
        until(self._answers, 60, otherwise=self.log.read_text)

    def _answers(self) -> bool:
        assert self.process.popen.poll() is None, self.log.read_text()
        return "Demo hosts" in self.log.read_text() and healthy(self.url)

    def log_in(self) -> Api:
        """As the README says: with the password that was printed."""
        told = re.search(r"^Its password, shown this once: (\S+)$", self.log.read_text(), re.MULTILINE)
        assert told is not None
        return Api(self.url, "admin", told[1])


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path)
    yield running
    running.process.kill()


def test_six_hosts_answer_at_once_and_it_stops_with_a_command_running(demo: Demo) -> None:
    api = demo.log_in()
    try:
        assert api.tokens["user"]["must_change_password"] is False, "a demo is used at once"
        job = api.wait_job(api.start_job("uname -sr"))
        assert job["status"] == "success"
        assert {task["platform_name"] for task in api.tasks(job["id"])} == HOSTS
        api.start_job("sleep 300")
        until(lambda: api.get("/tasks/", status="running", limit=1))
        began = time.monotonic()
        demo.process.popen.send_signal(signal.SIGTERM)
        until(lambda: "Stopping. " in demo.log.read_text())
        # The second one, as from somebody who does not want to wait.
        assert demo.process.stop() in (0, -signal.SIGTERM)
        assert time.monotonic() - began < 20
        assert "Traceback" not in demo.log.read_text()
    finally:
        api.http.close()


def test_the_second_time_it_says_how_to_log_in(demo: Demo) -> None:
    assert "was started before" not in demo.log.read_text()
    demo.process.stop()
    again = Demo(demo.folder, "again.log")
    try:
        told = again.log.read_text()
        assert "log in with the password that was shown then" in told and "shown this once" not in told
        assert "ADMIN_PASSWORD" not in told
        command = re.search(r"If it is lost: (DATA_DIR=.*)$", told, re.MULTILINE)
        assert command is not None
        given = subprocess.run(
            command[1], shell=True, cwd=demo.folder, capture_output=True, text=True, check=True
        )
        api = Api(again.url, "admin", given.stdout.split()[-1])
        assert api.tokens["user"]["must_change_password"] is True
        api.http.close()
    finally:
        again.process.kill()
