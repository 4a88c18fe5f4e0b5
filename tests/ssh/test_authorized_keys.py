"""Deploying keys: what was there stays, and a kill at any step leaves the whole old or the whole new file."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from tests.ssh.test_run import marker
from tests.support.sshd import LoginUser, RealSshd
from testum.ssh import PasswordAuth, Pool, SSHError, Timeouts, deploy_keys

TOOLS = ("cat", "chmod", "find", "grep", "mkdir", "mv", "readlink", "rm", "sleep", "sync", "tail")
STEP = """#!/bin/sh
exec 9>>"$HOME/lock"
/usr/bin/flock 9
step=$(( $(/bin/cat "$HOME/steps") + 1 ))
echo $step > "$HOME/steps"
exec 9>&-
[ "$(/bin/cat "$HOME/kill-at")" != "before $step" ] || kill -9 -1
/usr/bin/@TOOL@ "$@"
status=$?
[ "$(/bin/cat "$HOME/kill-at")" != "after $step" ] || kill -9 -1
exit $status
"""
"""Stands for a tool, counts, and at one step kills every process of the account."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    made = []
    for number in range(3):
        file = folder / str(number)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"k{number}", "-f", file], check=True
        )
        made.append(Path(f"{file}.pub").read_text().strip())
    return made


@pytest.fixture(scope="module")
def host():
    """An sshd whose account finds our steps instead of the tools."""
    user = LoginUser()
    tools = user.home / "tools"
    tools.mkdir()
    for tool in TOOLS:
        (tools / tool).write_text(STEP.replace("@TOOL@", tool))
        (tools / tool).chmod(0o755)
    server = RealSshd(user=user, options=[f"SetEnv PATH={tools}:/usr/bin:/bin"])
    yield server
    server.close()
    user.remove()


@pytest.fixture
def target(host, endpoint):
    return endpoint(port=host.port, username=host.user.name, auth=PasswordAuth(host.user.password))


def prepare(host, content: bytes | None, kill_at: str = "never") -> Path:
    """A home with this `authorized_keys` and nothing else of ours; the file."""
    home = host.user.home
    (home / "steps").write_text("0\n")
    (home / "kill-at").write_text(f"{kill_at}\n")
    folder = home / ".ssh"
    subprocess.run(["rm", "-rf", folder], check=True)
    if content is not None:
        folder.mkdir(mode=0o700)
        (folder / "authorized_keys").write_bytes(content)
        (folder / "authorized_keys").chmod(0o644)
    for path in (home / "steps", home / "kill-at", folder, folder / "authorized_keys"):
        if path.exists():
            os.chown(path, host.user.uid, host.user.gid)
    return folder / "authorized_keys"


async def deploy(target, lines):
    pool = Pool()
    try:
        return await deploy_keys(pool, target, lines, marker=marker(), timeouts=Timeouts(total=20))
    finally:
        await pool.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "before", [b"# mine\nssh-ed25519 AAAAold old\xff\nno newline", None], ids=["old", "none"]
)
async def test_a_kill_at_every_step(host, target, keys, before):
    file = prepare(host, before)
    await deploy(target, keys)
    whole = file.read_bytes()
    old = b"" if before is None else before + b"\n"
    assert whole == old + "".join(f"{key}\n" for key in keys).encode()
    steps = int((host.user.home / "steps").read_text())
    assert steps >= 8
    seen = set()
    for step in range(1, steps + 1):
        for moment in ("before", "after"):
            prepare(host, before, f"{moment} {step}")
            with pytest.raises(SSHError):
                await deploy(target, keys)
            left = file.read_bytes() if file.exists() else None
            assert left in (before, whole), (moment, step, left)
            seen.add(left)
            if step % 6 != 3:
                # A lock is only as old as its holder is dead, and a machine may be slow to bury it.
                continue
            (host.user.home / "kill-at").write_text("never\n")
            again = await deploy(target, keys)
            assert again.changed == (left == before)
            assert file.read_bytes() == whole and file.stat().st_mode & 0o777 == 0o600
            assert list(file.parent.iterdir()) == [file], "what the killed one left is gone"
    assert seen == {before, whole}


async def test_a_second_run_changes_nothing_and_says_so(host, target, keys):
    file = prepare(host, b"")
    first = await deploy(target, keys[:2])
    assert (first.added, first.present, first.changed) == (keys[:2], [], True)
    before = file.stat()
    second = await deploy(target, keys[:2])
    assert (second.added, second.present, second.changed) == ([], keys[:2], False)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    file.chmod(0o644)
    assert (await deploy(target, keys[:2])).changed
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_key_named_in_a_comment_is_not_there(host, target, keys):
    file = prepare(host, f"# {keys[0]}\n".encode())
    assert (await deploy(target, keys[:1])).added == keys[:1]
    assert file.read_text() == f"# {keys[0]}\n{keys[0]}\n"


async def test_a_key_with_options_and_another_comment_is_there(host, target, keys):
    kind, blob, _ = keys[0].split()
    line = f'from="10.0.0.0/8",no-pty {kind} {blob} someone else\n'
    file = prepare(host, line.encode())
    assert (await deploy(target, keys[:1])).present == keys[:1]
    assert file.read_text() == line


async def test_many_at_once_add_each_key_once(host, target, keys):
    file = prepare(host, b"# first\n")
    await asyncio.gather(*(deploy(target, [key]) for key in keys * 2))
    lines = file.read_text().splitlines()
    assert lines[0] == "# first" and sorted(lines[1:]) == sorted(keys)


async def test_a_link_stays_a_link(host, target, keys):
    file = prepare(host, b"# linked\n")
    real = file.parent / "elsewhere"
    file.rename(real)
    file.symlink_to("elsewhere")
    await deploy(target, keys[:1])
    assert file.is_symlink() and real.read_text() == f"# linked\n{keys[0]}\n"


async def test_what_cannot_be_written_is_left_and_named(host, target, keys):
    file = prepare(host, b"# kept\n")
    os.chown(file.parent, 0, 0)
    file.parent.chmod(0o755)
    with pytest.raises(SSHError) as failed:
        await deploy(target, keys[:1])
    assert failed.value.code == "deploy_failed" and ".ssh cannot be written" in failed.value.message
    assert file.read_bytes() == b"# kept\n"
