"""Deploying keys: what was there stays, and a kill at any step leaves the whole old or the whole new file."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.ssh.test_run import marker
from tests.support.sshd import LoginUser, RealSshd
from testum.ssh import KeyAuth, PasswordAuth, Pool, SSHError, Timeouts, authorized_keys, deploy_keys

TOOLS = "awk cat chmod cmp date find id ln mkdir mv readlink rm sleep sync tail tr wc"
STEP = """#!/bin/sh
exec 9>>"$HOME/lock"
/usr/bin/flock 9
step=$(( $(/bin/cat "$HOME/steps") + 1 ))
echo $step > "$HOME/steps"
exec 9>&-
# That kills all processes of the account but the one that calls it.
[ "$(/bin/cat "$HOME/kill-at")" != "before $step" ] || { kill -9 -1; exit 9; }
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
def users():
    """Accounts that find our steps instead of the tools."""
    made = [LoginUser() for _ in range(4)]
    yield made
    for user in made:
        user.remove()


@pytest.fixture(scope="module")
def host(users):
    tools = Path(tempfile.mkdtemp(prefix="testum-tools-"))
    tools.chmod(0o755)
    for tool in TOOLS.split():
        (tools / tool).write_text(STEP.replace("@TOOL@", tool))
        (tools / tool).chmod(0o755)
    server = RealSshd(user=users[0], options=[f"SetEnv PATH={tools}:/usr/bin:/bin"])
    yield server
    server.close()
    shutil.rmtree(tools)


@pytest.fixture
def to(host, endpoint):
    return lambda user: endpoint(port=host.port, username=user.name, auth=PasswordAuth(user.password))


@pytest.fixture
def target(to, users):
    return to(users[0])


def prepare(user, content: bytes | None, kill_at: str = "never") -> Path:
    """A home with this `authorized_keys` and nothing else of ours; the file."""
    home = user.home
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
            os.chown(path, user.uid, user.gid)
    return folder / "authorized_keys"


async def deploy(target, lines):
    pool = Pool()
    try:
        return await deploy_keys(pool, target, lines, marker=marker(), timeouts=Timeouts(total=20))
    finally:
        await pool.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "before",
    [b"# mine\nssh-ed25519 AAAAold old\xff\nno newline", pytest.param(None, marks=pytest.mark.slow)],
    ids=["old", "none"],
)
async def test_a_kill_at_every_step(users, to, keys, before, monkeypatch):
    # A lock that was left is waited for.
    monkeypatch.setattr(authorized_keys, "_STALE_SECONDS", 1)
    file = prepare(users[0], before)
    await deploy(to(users[0]), keys)
    whole = file.read_bytes()
    old = b"" if before is None else before + b"\n"
    assert whole == old + "".join(f"{key}\n" for key in keys).encode()
    steps = int((users[0].home / "steps").read_text())
    assert steps >= 8
    moments = iter([f"{moment} {step}" for step in range(1, steps + 1) for moment in ("before", "after")])
    seen = set()

    async def kill(user):
        for number, moment in enumerate(moments):
            file = prepare(user, before, moment)
            with pytest.raises(SSHError):
                await deploy(to(user), keys)
            left = file.read_bytes() if file.exists() else None
            assert left in (before, whole), (moment, left)
            seen.add(left)
            if number % 3 == 0:
                (user.home / "kill-at").write_text("never\n")
                again = await deploy(to(user), keys)
                assert again.changed == (left == before), moment
                assert file.read_bytes() == whole and file.stat().st_mode & 0o777 == 0o600
                assert list(file.parent.iterdir()) == [file], "what the killed one left is gone"

    await asyncio.gather(*map(kill, users))
    assert seen == {before, whole}


async def test_a_second_run_changes_nothing_and_says_so(users, target, keys):
    file = prepare(users[0], b"")
    first = await deploy(target, keys[:2])
    assert (first.added, first.present, first.changed) == (keys[:2], [], True)
    before = file.stat()
    second = await deploy(target, keys[:2])
    assert (second.added, second.present, second.changed) == ([], keys[:2], False)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    file.chmod(0o644)
    assert (await deploy(target, keys[:2])).changed
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_key_named_in_a_comment_is_not_there(users, target, keys):
    file = prepare(users[0], f"# {keys[0]}\n".encode())
    assert (await deploy(target, keys[:1])).added == keys[:1]
    assert file.read_text() == f"# {keys[0]}\n{keys[0]}\n"


async def test_a_key_with_options_and_another_comment_is_there(users, target, keys):
    kind, blob, _ = keys[0].split()
    line = f'from="10.0.0.0/8",no-pty {kind} {blob} someone else\n'
    file = prepare(users[0], line.encode())
    assert (await deploy(target, keys[:1])).present == keys[:1]
    assert file.read_text() == line


async def test_many_at_once_add_each_key_once(users, target, keys):
    file = prepare(users[0], b"# first\n")
    await asyncio.gather(*(deploy(target, [key]) for key in keys * 2))
    lines = file.read_text().splitlines()
    assert lines[0] == "# first" and sorted(lines[1:]) == sorted(keys)


async def test_a_link_stays_a_link(users, target, keys):
    file = prepare(users[0], b"# linked\n")
    real = file.parent / "elsewhere"
    file.rename(real)
    file.symlink_to("elsewhere")
    await deploy(target, keys[:1])
    assert file.is_symlink() and real.read_text() == f"# linked\n{keys[0]}\n"


async def test_what_cannot_be_written_is_left_and_named(users, target, keys):
    file = prepare(users[0], b"# kept\n")
    os.chown(file.parent, 0, 0)
    file.parent.chmod(0o755)
    with pytest.raises(SSHError) as failed:
        await deploy(target, keys[:1])
    assert failed.value.code == "deploy_failed" and ".ssh cannot be written" in failed.value.message
    assert file.read_bytes() == b"# kept\n"


# -- the file as sshd reads it -------------------------------------------------------------------------------

LINES = {
    # What logs in: the key is there.
    "comment in Latin-1": b"ssh-ed25519 KEY Jos\xe9@laptop",
    "tabs": b" \t ssh-ed25519\tKEY",
    "carriage return": b"ssh-ed25519 KEY\r",
    "NUL in the comment": b"ssh-ed25519 KEY a\0b",
    "quoted blanks and quotes": rb'restrict,command="a \" b, ssh-ed25519 OTHER",pty ssh-ed25519 KEY x',
    "valid until later": b'expiry-time="20990101" ssh-ed25519 KEY x',
    "valid until later, UTC": b'NO-PTY,Expiry-Time="209901010000Z" ssh-ed25519 KEY x',
    "environment": b'environment="A=b c" ssh-ed25519 KEY x',
    "comma at the end": b"restrict, ssh-ed25519 KEY x",
    "empty option": b"restrict,,pty ssh-ed25519 KEY x",
    "only a comma": b", ssh-ed25519 KEY x",
    "second line": b"ssh-ed25519 OTHER x\nssh-ed25519 KEY",
    "permissions": b'permitopen="h:1",permitopen="[::1]:80",permitopen="*:*",permitlisten="8080" ssh-ed25519 KEY x',
    "tunnel": b'tunnel="any",environment="1A=" ssh-ed25519 KEY x',
    "networks": b'from="!10.0.0.1,127.0.0.0/8,::1/128,*" ssh-ed25519 KEY x',
    "a day that no month has": b'expiry-time="20990231" ssh-ed25519 KEY x',
    # What does not: it is added.
    "in another key's comment": b"ssh-ed25519 OTHER replaced ssh-ed25519 KEY",
    "in another key's command": b'command="ssh-ed25519 KEY" ssh-ed25519 OTHER x',
    "misspelt type": b"ssh-ed2551 KEY x",
    "another type": b"ssh-rsa KEY x",
    "no type": b"KEY",
    "authority": b"cert-authority ssh-ed25519 KEY x",
    "authority in capitals": b"Restrict,Cert-Authority ssh-ed25519 KEY x",
    "expired": b'expiry-time="20200101" ssh-ed25519 KEY x',
    "expired, UTC": b'restrict,expiry-time="202001010000Z" ssh-ed25519 KEY x',
    "no date": b'expiry-time="tomorrow" ssh-ed25519 KEY x',
    "no such option": b"no-such-option ssh-ed25519 KEY x",
    "option without its value": b"command ssh-ed25519 KEY x",
    "value without quotes": b"command=ls ssh-ed25519 KEY x",
    "quote without end": b'command="ls ssh-ed25519 KEY x',
    "principals of a key": b'principals="a" ssh-ed25519 KEY x',
    "NUL before": b"x\0ssh-ed25519 KEY x",
    "NUL within": b"ssh-ed25519\0 KEY x",
    "comment": b" # ssh-ed25519 KEY",
    "two options of words": b"restrict pty ssh-ed25519 KEY x",
    "longer": b"ssh-ed25519 KEYAAAA x",
    "command twice": b'command="a",command="b" ssh-ed25519 KEY x',
    "addresses twice": b'from="*",from="*" ssh-ed25519 KEY x',
    "more behind the quote": b'command="a"b" c" ssh-ed25519 KEY x',
    "no such month": b'expiry-time="20991301" ssh-ed25519 KEY x',
    "no such day": b'expiry-time="20990132" ssh-ed25519 KEY x',
    "no such hour": b'expiry-time="209901012400" ssh-ed25519 KEY x',
    "no such minute": b'expiry-time="209901010060" ssh-ed25519 KEY x',
    "permission without port": b'permitopen="host" ssh-ed25519 KEY x',
    "permission for no such port": b'permitopen="host:65536" ssh-ed25519 KEY x',
    "permission for port 0": b'permitopen="host:0" ssh-ed25519 KEY x',
    "listening on no port": b'permitlisten="x" ssh-ed25519 KEY x',
    "no such tunnel": b'tunnel="0:1" ssh-ed25519 KEY x',
    "no name in the environment": b'environment="=a" ssh-ed25519 KEY x',
    "no variable's name": b'environment="A-B=c" ssh-ed25519 KEY x',
    "no value in the environment": b'environment="AB" ssh-ed25519 KEY x',
    "from nowhere": b'from="" ssh-ed25519 KEY x',
    "no network": b'from="127.0.0.1/8" ssh-ed25519 KEY x',
    "empty pattern": b'from="*,,127.0.0.1" ssh-ed25519 KEY x',
    "byte order mark": b"\xef\xbb\xbfssh-ed25519 KEY x",
}


@pytest.fixture(scope="module")
def strict():
    """An sshd that looks at modes."""
    server = RealSshd(options=["StrictModes yes", "SetEnv LANG=C.UTF-8"])
    yield server
    server.close()


@pytest.fixture
def pair(tmp_path):
    """A key pair: its private text and its public line."""
    file = tmp_path / "pair"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ours", "-f", file], check=True)
    return file.read_text(), Path(f"{file}.pub").read_text().strip()


def _write(server, content: bytes) -> Path:
    folder = server.user.home / ".ssh"
    subprocess.run(["rm", "-rf", folder], check=True)
    folder.mkdir(mode=0o700)
    file = folder / "authorized_keys"
    file.write_bytes(content)
    file.chmod(0o600)
    for path in (folder, file):
        os.chown(path, server.user.uid, server.user.gid)
    return file


async def _logs_in(server, endpoint, private: str) -> bool:
    """Whether sshd takes the key."""
    pool = Pool()
    try:
        await pool.check(
            endpoint(port=server.port, username=server.user.name, auth=KeyAuth(private)), Timeouts()
        )
    except SSHError as error:
        assert error.code == "key_rejected", error
        return False
    finally:
        await pool.close()
    return True


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
async def test_a_key_is_there_when_it_logs_in(strict, endpoint, keys, pair, line):
    private, public = pair
    content = line.replace(b"KEY", public.split()[1].encode()).replace(b"OTHER", keys[0].split()[1].encode())
    file = _write(strict, content + b"\n")
    there = await _logs_in(strict, endpoint, private)
    by_password = endpoint(
        port=strict.port, username=strict.user.name, auth=PasswordAuth(strict.user.password)
    )
    result = await deploy(by_password, [public])
    assert (result.present, result.added) == (([public], []) if there else ([], [public]))
    assert file.read_bytes() == content + b"\n" + (b"" if there else f"{public}\n".encode())
    assert await _logs_in(strict, endpoint, private)
    assert (await deploy(by_password, [public])).present == [public]


@pytest.mark.parametrize("of", ["folder", "file"])
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
async def test_what_others_can_write_is_mended(strict, endpoint, pair, of, mode):
    """sshd would not read it (StrictModes)."""
    private, public = pair
    file = _write(strict, f"{public}\n".encode())
    path = file if of == "file" else file.parent
    path.chmod(mode)
    # Debian's lets the owner's own group write.
    assert not (mode & 0o002 and await _logs_in(strict, endpoint, private))
    by_password = endpoint(
        port=strict.port, username=strict.user.name, auth=PasswordAuth(strict.user.password)
    )
    result = await deploy(by_password, [public])
    assert (result.present, result.changed, result.mended) == ([public], True, [str(path)])
    assert await _logs_in(strict, endpoint, private)


async def test_a_home_that_others_can_write_is_named_or_mended(strict, endpoint, pair):
    private, public = pair
    file = _write(strict, b"# first\n")
    home = strict.user.home
    before = home.stat().st_mode & 0o777
    home.chmod(0o777)
    try:
        by_password = endpoint(
            port=strict.port, username=strict.user.name, auth=PasswordAuth(strict.user.password)
        )
        with pytest.raises(SSHError) as failed:
            await deploy(by_password, [public])
        home.chmod(0o775)
        assert (await deploy(by_password, [public])).mended == [str(home)]
    finally:
        home.chmod(before)
    assert failed.value.code == "deploy_failed" and "StrictModes" in failed.value.message
    assert file.read_text() == f"# first\n{public}\n"
    assert await _logs_in(strict, endpoint, private)


PLACES = {
    # With what is done to the account's home, in which the key stands, and whether a deployment then succeeds.
    "~/.ssh is a link": ("mv .ssh elsewhere; ln -s elsewhere .ssh", True),
    "a link through what others can write": (
        "mkdir -p a/b; mv .ssh/authorized_keys a/b/; chmod 777 a; ln -s ../a/b/authorized_keys .ssh/",
        False,
    ),
    "a link to what others can write": (
        "mkdir a; mv .ssh/authorized_keys a/; chmod 777 a; ln -s ../a/authorized_keys .ssh/",
        False,
    ),
    "the home is another's": ("chown daemon .", False),
    "the file is another's": ("chown daemon .ssh/authorized_keys; chmod 644 .ssh/authorized_keys", False),
    "the file is root's": ("chown root .ssh/authorized_keys; chmod 644 .ssh/authorized_keys", True),
    "nobody enters ~/.ssh": ("chmod 600 .ssh", False),
}


@pytest.mark.parametrize("case", PLACES)
async def test_a_key_is_there_when_sshd_reads_the_file(strict, endpoint, pair, case):
    private, public = pair
    home = strict.user.home
    for made in ("a", "elsewhere"):
        shutil.rmtree(home / made, ignore_errors=True)
    _write(strict, f"{public}\n".encode())
    text, there = PLACES[case]
    subprocess.run(["sh", "-ec", text], cwd=home, check=True)
    if "another's" not in case and "root's" not in case:
        subprocess.run(["chown", "-R", strict.user.name, home], check=True)
    by_password = endpoint(
        port=strict.port, username=strict.user.name, auth=PasswordAuth(strict.user.password)
    )
    try:
        assert await _logs_in(strict, endpoint, private) == there
        if there:
            assert (await deploy(by_password, [public])).present == [public]
            return
        with pytest.raises(SSHError) as failed:
            await deploy(by_password, [public])
        assert failed.value.code == "deploy_failed"
    finally:
        os.chown(home, strict.user.uid, strict.user.gid)


async def test_the_home_is_the_accounts_whatever_a_start_up_file_says(endpoint, pair):
    private, public = pair
    user = LoginUser(shell="/bin/bash")
    server = RealSshd(user=user, options=["StrictModes yes"])
    try:
        (user.home / ".bashrc").write_text("mkdir -p ~/other; export HOME=~/other TZ=Etc/GMT+12\n")
        by_password = endpoint(port=server.port, username=user.name, auth=PasswordAuth(user.password))
        assert (await deploy(by_password, [public])).added == [public]
        assert await _logs_in(server, endpoint, private)
    finally:
        server.close()
        user.remove()


async def test_a_folder_in_the_locks_place_is_moved_away(users, target, keys, monkeypatch):
    """Making the link then makes it within."""
    monkeypatch.setattr(authorized_keys, "_STALE_SECONDS", 1)
    file = prepare(users[0], b"# first\n")
    lock = file.parent / "authorized_keys.testum-lock"
    lock.mkdir()
    os.chown(lock, users[0].uid, users[0].gid)
    assert (await deploy(target, keys[:1])).added == keys[:1]
    assert file.read_text() == f"# first\n{keys[0]}\n" and list(file.parent.iterdir()) == [file]


def test_the_same_address_behind_another_jump_host_is_another_account(endpoint):
    """Who deploys to an account waits for whoever does so already; not for those on another network."""
    jump = endpoint(host="127.0.0.2")
    accounts = [endpoint(), endpoint(jump=jump), endpoint(jump=endpoint(jump=jump))]
    assert len({authorized_keys._account(account) for account in accounts}) == 3
    assert authorized_keys._account(accounts[1]) == authorized_keys._account(endpoint(jump=jump))
