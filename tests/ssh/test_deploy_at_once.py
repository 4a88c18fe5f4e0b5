"""Many deployments to one file at once, also from hosts that know nothing of one another: nothing is lost, and nothing of
others is touched. Each runs in a PID and UTS namespace of its own over one directory, as hosts do that share a home."""

import asyncio
import random
import secrets
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.waiting import lag
from testum.ssh import authorized_keys

_FOREIGN = (
    b'# mine\nfrom="10.0.0.1" ssh-rsa AAAAforeign one of others\nssh-ed25519 AAAAlatin Jos\xe9\nno newline'
)


def _key() -> str:
    """A key line that no other is like."""
    return f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{secrets.token_hex(20)} {secrets.token_hex(4)}"


async def _deploy(home: Path, key: str, kill_after: float | None = None) -> bool:
    """Run the script alone, as on a host of its own; whether it said that the key is there. It is killed after so many
    seconds, if not None."""
    tag = f"testum-{secrets.token_hex(8)}"
    script = authorized_keys._script([key], tag).text
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--pid", "--uts", "--fork", "--kill-child", "env", "-i", "PATH=/usr/bin:/bin"),
        *(f"HOME={home}", "sh", "-c", script),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if kill_after is not None:
        await lag(kill_after)
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
    out, err = await process.communicate()
    said = f"{tag} done".encode() in out
    if not said and kill_after is None:
        print(out, err)
    return said


async def _round(home: Path, chance: random.Random, *, number: int, killed: int) -> None:
    """So many at once, some of which are killed on the way; then one more, which finds the lock free."""
    (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
    file = home / ".ssh" / "authorized_keys"
    file.write_bytes(_FOREIGN)
    keys = [_key() for _ in range(number)]
    kills = [chance.uniform(0, number / 10) if place < killed else None for place in range(number)]
    done = await asyncio.gather(*map(_deploy, [home] * number, keys, kills))
    last = _key()
    async with asyncio.timeout(60):
        assert await _deploy(home, last)
    assert all(said for said, kill in zip(done, kills, strict=True) if kill is None)
    left = file.read_bytes()
    assert left.startswith(_FOREIGN + b"\n")
    lines = left[len(_FOREIGN) + 1 :].decode().splitlines()
    assert len(lines) == len(set(lines)) and set(lines) <= {*keys, last}
    assert {last, *(key for key, said in zip(keys, done, strict=True) if said)} <= set(lines)
    assert [path.name for path in file.parent.iterdir()] == ["authorized_keys"]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """A lock that was left is not waited for as long as by the product, and the home is where the test has it."""
    monkeypatch.setattr(authorized_keys, "_HOME", "home=$HOME")
    monkeypatch.setattr(authorized_keys, "_STALE_SECONDS", 4)


@pytest.mark.parametrize("killed", [0, 3])
async def test_many_at_once_on_one_file(tmp_path, killed):
    await _round(tmp_path, random.Random(killed), number=12, killed=killed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("killed", [0, 6])
async def test_two_hundred_rounds_of_thirty(tmp_path, killed):
    chance = random.Random(killed)
    for _ in range(100):
        await _round(tmp_path, chance, number=30, killed=killed)
