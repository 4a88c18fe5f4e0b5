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


_TOOLS = ("awk", "cat", "chmod", "cmp", "ln", "mv", "readlink", "rm", "sync", "tail", "tr")
_COUNTED = """#!/bin/sh
echo >>CONTROL/steps
if [ "$(wc -l <CONTROL/steps)" -eq STEP ]; then
  echo >CONTROL/stopped
  until [ -e CONTROL/go ]; do sleep 0.05; done
fi
exec /usr/bin/TOOL "$@"
"""


async def _deploy(home: Path, key: str, kill_after: float | None = None, tools: str = "") -> bool:
    """Run the script alone, as on a host of its own; whether it said that the key is there. It is killed after so many
    seconds, if not None. `tools`: where its programs are looked for first, ended by a colon."""
    tag = f"testum-{secrets.token_hex(8)}"
    script = authorized_keys._script([key], tag).text
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--pid", "--uts", "--fork", "--kill-child", "env", "-i"),
        f"PATH={tools}/usr/bin:/bin",
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


async def _stopped(place: Path, step: int) -> bool:
    """A deployment that does not move on at so many programs that it has started, until another one is done; whether it
    came so far. Both keys are there afterwards."""
    place.mkdir()
    control, tools, home = place / "control", place / "tools", place / "home"
    for folder in (control, tools, home):
        folder.mkdir()
    file = home / ".ssh" / "authorized_keys"
    file.parent.mkdir(mode=0o700)
    file.write_bytes(_FOREIGN)
    counted = _COUNTED.replace("CONTROL", str(control)).replace("STEP", str(step))
    for name in _TOOLS:
        tool = tools / name
        tool.write_text(counted.replace("TOOL", name))
        tool.chmod(0o755)
    slow_key, key = _key(), _key()
    slow = asyncio.create_task(_deploy(home, slow_key, tools=f"{tools}:"))
    try:
        while not (stopped := (control / "stopped").exists()) and not slow.done():
            await lag(0.02)
        assert await _deploy(home, key)
    finally:
        (control / "go").touch()
        said = await slow
    assert said, step
    left = file.read_bytes()
    assert left.startswith(_FOREIGN + b"\n") and len(left.splitlines()) == len(_FOREIGN.splitlines()) + 2
    assert {key, slow_key} <= set(left.decode("latin-1").splitlines())
    assert [path.name for path in file.parent.iterdir()] == ["authorized_keys"], step
    return stopped


async def test_whoever_is_slow_at_any_step_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(authorized_keys, "_STALE_SECONDS", 1)
    reached = await asyncio.gather(*(_stopped(tmp_path / str(step), step) for step in range(1, 31)))
    assert 15 <= sum(reached) < len(reached), "it was stopped at each of its steps"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("killed", [0, 6])
async def test_two_hundred_rounds_of_thirty(tmp_path, killed):
    chance = random.Random(killed)
    for _ in range(100):
        await _round(tmp_path, chance, number=30, killed=killed)
