"""Everything that goes wrong on the way to a host or on it: each has its own `error_code`, a message a person
can act on, and leaves nothing running."""

import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.ssh.test_terminate import commands
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd, free_port, run
from tests.support.tools import make_key, unique
from tests.support.waiting import stays, until

pytestmark = pytest.mark.walls


@pytest.fixture
def host(real_sshd: RealSshd) -> Iterator[RealSshd]:
    """An sshd of the test's own, on the shared login user."""
    sshd = RealSshd(user=real_sshd.user)
    yield sshd
    sshd.close()


def failed(api: Api, platform: Any, code: str, *words: str, command: str = "true", **values: Any) -> Any:
    """Run on the platform; the task, which failed with this code and with these words in its message."""
    task = api.run(command, targets={"platform_ids": [platform["id"]]}, **values)
    assert (task["status"], task["error_code"]) == ("failed", code), task
    for word in words:
        assert word in task["error_message"], task["error_message"]
    assert "Traceback" not in task["error_message"] and "asyncssh" not in task["error_message"].lower()
    return task


def running(sshd: RealSshd, text: str) -> bool:
    return text in run("ps", "-ww", "-u", sshd.user.name, "-o", "args", check=False)


# -- on the way ----------------------------------------------------------------------------------------------


@pytest.mark.walls(slow=True)
def test_no_such_name(api: Api, real_sshd: RealSshd) -> None:
    platform = api.add_platform(unique(), real_sshd, host="no-such-host.invalid")
    failed(api, platform, "host_not_found", "no-such-host.invalid")


@pytest.mark.walls(slow=True)
def test_refused(api: Api, real_sshd: RealSshd) -> None:
    port = free_port()
    platform = api.add_platform(unique(), real_sshd, port=port)
    failed(api, platform, "connection_refused", f"127.0.0.1:{port}")


@contextmanager
def unanswered() -> Iterator[int]:
    """A port whose packets are dropped, as a filter would: its queue is full, and nobody takes from it."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = []
        for _ in range(4):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
            callers.append(caller)
        # One is let in, whom nobody takes: with it the queue is full.
        assert select.select([], callers, [], 10)[1]
        yield listener.getsockname()[1]
        for caller in callers:
            caller.close()


@contextmanager
def answering(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port where `talk` answers each connection."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                held.append(connection)
                with suppress(OSError):
                    # Whoever called may have gone already.
                    talk(connection)

        held: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


@pytest.fixture(scope="module")
def hurried() -> Iterator[Server]:
    """A server that waits only five seconds for a connection, and allows little output."""
    with Server(
        env={"CONNECT_TIMEOUT_SECONDS": "5", "OUTPUT_LIMIT_BYTES": "100000", "SSH_HOST_KEY_POLICY": "strict"}
    ) as running:
        yield running


@pytest.mark.walls(slow=True)
def test_who_does_not_answer(hurried: Server, real_sshd: RealSshd) -> None:
    """A port that is filtered, and a server that says nothing."""
    api = hurried.client()
    with (
        unanswered() as filtered,
        answering(lambda connection: None) as silent,
        ThreadPoolExecutor() as threads,
    ):

        def seen(port: int) -> None:
            platform = api.add_platform(unique(), real_sshd, port=port)
            failed(api, platform, "connect_timeout", f"127.0.0.1:{port}", "within 5 seconds")

        begun = time.monotonic()
        list(threads.map(seen, (filtered, silent)))
        assert time.monotonic() - begun < 40


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize(
    "greeting",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-1.5-old\r\n", b"\0" * 3000, b"SSH-2.0-x\r\n" + b"\xff" * 500],
    ids=["HTTP", "SSH 1", "zeros", "broken packets"],
)
def test_what_is_no_ssh_server(api: Api, real_sshd: RealSshd, greeting: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(greeting)
        connection.shutdown(socket.SHUT_WR)

    with answering(talk) as port:
        failed(api, api.add_platform(unique(), real_sshd, port=port), "handshake_failed", f"127.0.0.1:{port}")


# -- logging in ----------------------------------------------------------------------------------------------


@pytest.mark.walls(slow=True)
def test_a_wrong_password(api: Api, real_sshd: RealSshd) -> None:
    failed(api, api.add_platform(unique(), real_sshd, password="wrong"), "auth_failed", real_sshd.user.name)


@pytest.mark.walls(slow=True)
def test_a_wrong_key(api: Api, real_sshd: RealSshd, tmp_path: Path) -> None:
    private, _ = make_key(tmp_path)
    platform = api.add_platform(unique(), real_sshd, auth_method="private_key", private_key=private)
    failed(api, platform, "key_rejected", "authorized_keys")


@pytest.mark.walls(slow=True)
def test_a_missing_passphrase(api: Api, real_sshd: RealSshd, tmp_path: Path) -> None:
    private, public = make_key(tmp_path, passphrase="open sesame")
    real_sshd.add_key(public)
    platform = api.add_platform(unique(), real_sshd, auth_method="private_key", private_key=private)
    failed(api, platform, "passphrase_required", "passphrase")


@pytest.mark.walls(slow=True)
def test_a_changed_host_key(api: Api, host: RealSshd) -> None:
    platform = api.add_platform(unique(), host)
    assert api.run("true", targets={"platform_ids": [platform["id"]]})["status"] == "success"
    known = api.get(f"/platforms/{platform['id']}")["known_host_fingerprint"]
    host.stop()
    host.new_host_key()
    host.start()
    task = failed(api, platform, "host_key_changed", known)
    assert task["metadata"]["presented_host_key"]["public_key"] == host.host_key_line
    assert api.get(f"/platforms/{platform['id']}")["known_host_fingerprint"] == known


@pytest.mark.walls(slow=True)
def test_an_unknown_host_in_strict(hurried: Server, real_sshd: RealSshd) -> None:
    api = hurried.client()
    task = failed(api, api.add_platform(unique(), real_sshd), "host_key_unknown", "SHA256:")
    assert task["metadata"]["presented_host_key"]["public_key"] == real_sshd.host_key_line


# -- on the host ---------------------------------------------------------------------------------------------


@pytest.fixture
def platform(api: Api, real_sshd: RealSshd) -> Any:
    return api.add_platform(unique(), real_sshd)


def test_a_connection_cut_mid_command(api: Api, host: RealSshd) -> None:
    mine = api.add_platform(unique(), host)
    job_id = api.start_job("echo begun; sleep 4021", targets={"platform_ids": [mine["id"]]})
    (task,) = api.tasks(job_id)
    until(lambda: api.output(task["id"]) == b"begun\n")
    host.cut()
    api.wait_job(job_id)
    task = api.get(f"/tasks/{task['id']}")
    assert (task["status"], task["error_code"], task["stdout"]) == ("failed", "connection_lost", "begun\n")
    assert task["metadata"]["termination"]["state"] == "confirmed"
    assert not running(host, "sleep 4021")


def test_timeouts(api: Api, platform: Any, real_sshd: RealSshd) -> None:
    """Of a command that takes too long, and of one that is silent for too long."""
    silent = "echo a; sleep 0.5; echo b; sleep 4023"
    with ThreadPoolExecutor() as threads:
        long = threads.submit(
            failed, api, platform, "timeout", "4 seconds", command="echo begun; sleep 4022", timeout=4
        )
        idle = threads.submit(
            failed, api, platform, "idle_timeout", "5 seconds", command=silent, idle_timeout=5
        )
    for task, printed in ((long.result(), "begun\n"), (idle.result(), "a\nb\n")):
        assert task["stdout"] == printed and task["metadata"]["termination"]["state"] == "confirmed"
    assert not running(real_sshd, "sleep 4022") and not running(real_sshd, "sleep 4023")


@pytest.mark.parametrize("status", [1, 255])
def test_an_exit_status(api: Api, platform: Any, status: int) -> None:
    task = failed(api, platform, "exit_status", str(status), command=f"exit {status}")
    assert (task["exit_code"], task["exit_signal"]) == (status, None)


def test_a_signal(api: Api, platform: Any) -> None:
    task = failed(api, platform, "signal", "KILL", command="kill -KILL $$")
    assert (task["exit_code"], task["exit_signal"]) == (None, "KILL")


def test_too_much_output(hurried: Server, real_sshd: RealSshd) -> None:
    api = hurried.client()
    platform = api.add_platform(unique(), real_sshd, known_host_key=real_sshd.host_key_line)
    task = failed(api, platform, "output_limit", "100000", command="while :; do echo 4024; done")
    assert len(api.output(task["id"])) == 100_000
    assert not running(real_sshd, "4024")


@pytest.mark.walls(slow=True)
def test_a_server_that_runs_nothing(api: Api, real_sshd: RealSshd) -> None:
    sshd = RealSshd(user=real_sshd.user, options=["MaxSessions 0"])
    try:
        failed(api, api.add_platform(unique(), sshd), "channel_refused")
    finally:
        sshd.close()


# -- a full disk ---------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.embedded
def test_a_full_disk(real_sshd: RealSshd, tmp_path: Path) -> None:
    """Output stops before the database has no room: the task says so, the server goes on, and once there is
    room again everything works as before."""
    with small_disk(tmp_path, "24m") as folder, Server(data_dir=folder) as server:
        api = server.client()
        platform = api.add_platform(unique(), real_sshd)
        before = api.run("echo before")
        task = failed(
            api,
            platform,
            "storage_full",
            "DATA_DIR",
            command="seq 4025 99999999",
        )
        kept = api.output(task["id"])
        assert len(kept) > 1_000_000 and task["output_bytes"] == len(kept)
        assert kept.startswith(b"4025\n4026\n")
        assert task["metadata"]["termination"]["state"] == "confirmed"
        assert not running(real_sshd, "seq 4025")
        # Small output still has its room, and so have other results.
        assert api.run("echo small")["stdout"] == "small\n"
        assert api.get(f"/tasks/{before['id']}") == before
        for file in folder.glob("artifacts/**/*.frames"):
            file.unlink()
        assert api.run("seq 1 100000")["output_bytes"] == 588_895


@pytest.mark.embedded
def test_output_that_cannot_be_stored(real_sshd: RealSshd, tmp_path: Path) -> None:
    """The disk for output can only be read: a command that prints nothing more is ended at once, too."""
    output, data = tmp_path / "output", tmp_path / "data"
    output.mkdir()
    data.mkdir()
    (data / "artifacts").symlink_to(output)
    with small_disk(output, "24m"), Server(data_dir=data) as server:
        api = server.client()
        platform = api.add_platform(unique(), real_sshd)
        api.run("true")
        subprocess.run(["mount", "-o", "remount,ro", str(output)], check=True)
        task = failed(
            api, platform, "storage_unavailable", "Read-only file system", command="echo out; sleep 4026"
        )
        assert task["metadata"]["termination"]["state"] == "confirmed"
        assert not running(real_sshd, "sleep 4026")
        subprocess.run(["mount", "-o", "remount,rw", str(output)], check=True)
        assert api.run("seq 1 100000")["output_bytes"] == 588_895


@pytest.mark.embedded
def test_a_disk_filled_by_others(real_sshd: RealSshd, tmp_path: Path) -> None:
    """The disk has no byte left, not even for the database: what runs waits for room instead of vanishing."""
    with small_disk(tmp_path, "24m") as folder, Server(data_dir=folder) as server:
        api = server.client()
        api.add_platform(unique(), real_sshd)
        api.run("true")
        gate = real_sshd.user.home / unique("gate")
        job_id = api.start_job(f"while [ ! -e {gate} ]; do sleep 0.05; done; echo done")
        (task,) = api.tasks(job_id)
        until(lambda: commands(real_sshd, task["id"]))
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        gate.touch()
        until(lambda: not commands(real_sshd, task["id"]))
        # What it printed and how it ended cannot be written down now.
        stays(lambda: server.process.poll() is None, 0.5)
        answer = api.http.post(
            "/jobs/", json={"type": "run_command", "command": "true", "targets": {"all": True}}
        )
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full"), answer.text
        filler.unlink()
        assert api.wait_job(job_id, 30)["status"] == "success"
        assert api.run("echo again")["stdout"] == "again\n"
