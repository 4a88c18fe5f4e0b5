"""The demo hosts seen by a plain SSH client."""

import asyncio
import hashlib
import os
import stat
from pathlib import Path

import asyncssh
import psutil
import pytest

from tests.support.waiting import eventually, remains
from testum.demo.hosts import DemoHost, DemoHosts

from .conftest import Connect


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_six_hosts_with_keys_and_homes_of_their_own(
    hosts: dict[str, DemoHost], connect: Connect, tmp_path: Path
) -> None:
    assert len(hosts) == 6
    assert len({host.host_key for host in hosts.values()}) == len({host.port for host in hosts.values()}) == 6
    for name, host in hosts.items():
        connection = await connect(host)
        answer = await connection.run(
            'uname -n; hostname; pwd; echo "$HOSTNAME $HOME"; id -u; echo error >&2'
        )
        home = str(tmp_path / "demo" / name)
        assert str(answer.stdout).split() == [name, name, home, name, home, str(os.getuid())]
        assert answer.stderr == "error\n"
        assert answer.exit_status == 0


async def test_uname_only_changes_the_name(hosts: dict[str, DemoHost], connect: Connect) -> None:
    connection = await connect(hosts["db-01"])
    real = os.uname()
    answer = str((await connection.run("uname; uname -s -n; uname -r; uname --nonsense")).stdout).splitlines()
    assert answer == [real.sysname, f"{real.sysname} db-01", real.release]


async def test_nothing_of_the_servers_environment_is_passed_on(
    tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERNET_KEY", "secret")
    demo = DemoHosts(tmp_path / "demo")
    try:
        connection = await connect((await demo.start())[0])
        assert "FERNET_KEY" not in str((await connection.run("env")).stdout)
    finally:
        await demo.stop()


async def test_they_listen_on_the_loopback_only(hosts: dict[str, DemoHost]) -> None:
    ports = {host.port for host in hosts.values()}
    listening = [
        connection.laddr
        for connection in psutil.Process().net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in ports
    ]
    assert {address.ip for address in listening} == {"127.0.0.1"} and len(listening) == 6


async def test_only_the_one_login_is_let_in(hosts: dict[str, DemoHost], connect: Connect) -> None:
    host = hosts["web-01"]
    other = asyncssh.generate_private_key("ssh-ed25519")
    for wrong in ({"client_keys": [other]}, {"username": "root"}, {"client_keys": None, "password": "demo"}):
        with pytest.raises(asyncssh.PermissionDenied):
            await connect(host, **wrong)  # type: ignore[call-arg]


async def test_a_key_that_was_deployed_logs_in(hosts: dict[str, DemoHost], connect: Connect) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    line = other.export_public_key().decode("ascii").strip()
    await (await connect(hosts["web-01"])).run(
        f"mkdir -p .ssh; printf '%s\\n' nonsense '{line}' > .ssh/authorized_keys"
    )
    answer = await (await connect(hosts["web-01"], client_keys=[other])).run("uname -n")  # type: ignore[call-arg]
    assert answer.stdout == "web-01\n"
    for host, user in ((hosts["web-02"], "demo"), (hosts["web-01"], "root")):
        with pytest.raises(asyncssh.PermissionDenied):
            await connect(host, client_keys=[other], username=user)  # type: ignore[call-arg]


async def test_nothing_is_forwarded(hosts: dict[str, DemoHost], connect: Connect) -> None:
    connection = await connect(hosts["web-01"])
    with pytest.raises(asyncssh.ChannelOpenError):
        await connection.open_connection("127.0.0.1", hosts["web-02"].port)
    with pytest.raises(asyncssh.ChannelListenError):
        await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 1)


async def test_exit_status_and_signal_are_reported(hosts: dict[str, DemoHost], connect: Connect) -> None:
    connection = await connect(hosts["web-01"])
    assert (await connection.run("exit 255")).exit_status == 255
    killed = await connection.run("kill -TERM $$")
    assert killed.exit_signal is not None and killed.exit_signal[0] == "TERM"
    assert (await connection.run("true\0")).exit_status == 126


async def test_bytes_pass_unchanged_both_ways(hosts: dict[str, DemoHost], connect: Connect) -> None:
    connection = await connect(hosts["web-01"])
    data = os.urandom(3_000_000)
    answer = await connection.run("cat; echo done >&2", input=data, encoding=None)
    assert hashlib.sha256(bytes(answer.stdout or b"")).digest() == hashlib.sha256(data).digest()
    assert answer.stderr == b"done\n"
    # Without a command it is a shell that reads one from its input.
    assert (await connection.run(input="echo $((6 * 7))\n")).stdout == "42\n"


async def test_a_reader_that_stops_holds_the_command_back(
    hosts: dict[str, DemoHost], connect: Connect, tmp_path: Path
) -> None:
    connection = await connect(hosts["web-01"])
    counter = tmp_path / "demo" / "web-01" / "counter"
    before = psutil.Process().memory_info().rss
    process = await connection.create_process(
        "while head -c 1000000 /dev/zero; do echo >>counter; done", encoding=None
    )
    await process.stdout.read(1)
    await eventually(counter.exists)
    # Unhindered it would count so far within a part of a second.
    await remains(lambda: counter.stat().st_size < 20, 0.5)
    assert psutil.Process().memory_info().rss - before < 30_000_000
    process.close()


@pytest.mark.parametrize("how", ["channel", "connection"])
async def test_a_closed_channel_ends_the_process_group(
    hosts: dict[str, DemoHost], connect: Connect, how: str
) -> None:
    connection = await connect(hosts["web-01"])
    process = await connection.create_process("trap '' TERM HUP; sleep 1000 & echo $$ $!; wait")
    pids = [int(pid) for pid in (await process.stdout.readline()).split()]
    assert all(map(alive, pids))
    if how == "channel":
        process.close()
    else:
        connection.abort()
    await eventually(lambda: not any(map(alive, pids)))


async def test_a_signal_request_reaches_the_group(hosts: dict[str, DemoHost], connect: Connect) -> None:
    connection = await connect(hosts["web-01"])
    # Between its fork and its exec the child would take the signal as its parent does, and sleep on.
    process = await connection.create_process(
        "trap 'echo caught; exit 7' TERM; sleep 1000 & until grep -qx sleep /proc/$!/comm; do :; done; "
        "echo ready; wait"
    )
    assert await process.stdout.readline() == "ready\n"
    process.send_signal("TERM")
    done = await process.wait()
    assert (done.stdout, done.exit_status) == ("caught\n", 7)


async def test_two_channels_see_each_others_processes(hosts: dict[str, DemoHost], connect: Connect) -> None:
    connection = await connect(hosts["web-01"])
    # What tells its number is what is looked at: another program in the same process would come with a moment in
    # between that has neither's environment.
    process = await connection.create_process("MARK=here sh -c 'echo $$; read never'")
    pid = (await process.stdout.readline()).strip()
    look = await connection.run(f"tr '\\0' '\\n' </proc/{pid}/environ | grep MARK; kill {pid}")
    assert look.stdout == "MARK=here\n"
    await process.wait()


async def test_a_daemon_lives_on_until_the_demo_ends(tmp_path: Path, connect: Connect) -> None:
    demo = DemoHosts(tmp_path / "demo")
    connection = await connect((await demo.start())[0])
    daemon = await connection.run("(setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!)")
    pid = int(str(daemon.stdout))
    connection.abort()
    await eventually(lambda: not demo._connections)
    await remains(lambda: alive(pid), 0.1)
    await demo.stop()
    assert not alive(pid)


async def test_a_start_ends_what_a_killed_demo_left(tmp_path: Path) -> None:
    left = await asyncio.create_subprocess_exec(
        "sleep", "1000", env={**os.environ, "TESTUM_DEMO": str(tmp_path / "demo")}
    )
    # It is started once its pipes are closed, and the kernel shows its environment a moment later.
    await eventually(lambda: b"TESTUM_DEMO=" in Path(f"/proc/{left.pid}/environ").read_bytes())
    demo = DemoHosts(tmp_path / "demo")
    await demo.start()
    assert await asyncio.wait_for(left.wait(), 5) == -9
    await demo.stop()


async def test_homes_stay_and_are_private(tmp_path: Path, connect: Connect) -> None:
    for expected in ("", "kept\n"):
        demo = DemoHosts(tmp_path / "demo")
        connection = await connect((await demo.start())[0])
        answer = await connection.run("cat file; echo kept >file")
        assert answer.stdout == expected
        await demo.stop()
    assert stat.S_IMODE((tmp_path / "demo").stat().st_mode) == 0o700
