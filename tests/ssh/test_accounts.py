"""Accounts of every kind: other login shells, start-up files that print, read, fail or run another shell, and forced
commands. What is told is true: a program that did not begin is no success, and nothing of it was run.

What most accounts have is in tests/execution/test_accounts.py, by every action; here is what is odd."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.ssh.conftest import begin
from tests.ssh.test_run import marker
from tests.ssh.test_terminate import commands
from tests.support.sshd import LoginUser, RealSshd
from testum.ssh import (
    Command,
    Endpoint,
    Exit,
    NotBegun,
    Pool,
    Program,
    Progress,
    Script,
    Timeouts,
    deploy_keys,
)
from testum.ssh.authorized_keys import DeployFailed

BUSYBOX = '#!/bin/sh\nexec busybox sh "$@"\n'
"""A login shell is called with `-c` only; busybox wants to know which of its programs."""
SHELLS = ["sh", "bash", "dash", "busybox", "zsh", "mksh", "fish", "tcsh", "bsd-csh"]
RUNS_COMMANDS_ONLY = "rbash"

TEXT = r"""echo "it's" 'a!b' \\ "$V" $((1 + 1)); echo err >&2; exit 3"""
PRINTED = b"it's a!b \\ x y 2\n"
VALUES = {"V": "x y"}
SCRIPT = 'printf "%s|%s\\n" "$1" "$V"\necho err >&2\nexit 4\n'
ODD = "it's\n\\n !$HOME `id` \"\n"
LASTING = "echo go; sleep 3971; sleep 3971"


def path_of(shell: str, folder: Path) -> str:
    """Where the login shell is."""
    if shell == "busybox":
        wrapper = folder / "busybox-sh"
        wrapper.write_text(BUSYBOX)
        wrapper.chmod(0o755)
        return str(wrapper)
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


@pytest.fixture
def account(tmp_path_factory: pytest.TempPathFactory, key_file: Path) -> Iterator[Callable[..., RealSshd]]:
    """Makes an account with this shell and these start-up files, on an sshd of its own."""
    made: list[RealSshd] = []

    def make(shell: str = "bash", files: dict[str, str] | None = None, **options: object) -> RealSshd:
        folder = Path("/usr/local/lib") / f"testum-t-{marker()}"
        folder.mkdir()
        try:
            user = LoginUser(shell=path_of(shell, folder))
        except BaseException:
            shutil.rmtree(folder)
            raise
        sshd = RealSshd(user=user, **options)  # type: ignore[arg-type]
        made.append(sshd)
        folders.append(folder)
        for name, text in (files or {}).items():
            (user.home / name).write_text(text)
        sshd.add_key(Path(f"{key_file}.pub").read_text())
        return sshd

    folders: list[Path] = []
    yield make
    for sshd, folder in zip(made, folders, strict=True):
        sshd.close()
        sshd.user.remove()
        shutil.rmtree(folder)


class Asked:
    """What a program did: its own output, what was printed before it, and how it ended."""

    def __init__(self) -> None:
        self.out = self.err = self.early = b""
        self.ended: Exit | NotBegun | None = None


@pytest.fixture
async def ask(
    endpoint: Callable[..., Endpoint], pool: Pool
) -> AsyncIterator[Callable[[RealSshd, Program], object]]:
    async def run(sshd: RealSshd, program: Program) -> Asked:
        asked = Asked()
        host = endpoint(port=sshd.port, username=sshd.user.name)
        execution = await begin(pool, host, program, marker=marker(), timeouts=Timeouts(total=20))
        try:
            async for event in execution:
                if isinstance(event, Exit):
                    asked.ended = event
                elif event.stream == "stderr":
                    asked.err += event.data
                elif event.early:
                    asked.early += event.data
                else:
                    asked.out += event.data
        except NotBegun as error:
            asked.ended = error
        finally:
            await execution.aclose()
        return asked

    yield run


async def cancelled(pool, host, sshd, text=LASTING):
    """What is said of a program that is ended after a moment, and what of it is left."""
    name = marker()
    begun = asyncio.Event()
    progress = Progress()
    progress.beginning = lambda pid: begun.set()
    program = Script(text) if "\n" in text else Command(text)
    execution = await begin(pool, host, program, marker=name, timeouts=Timeouts(total=20), progress=progress)

    async def read():
        async for _ in execution:
            pass

    reading = asyncio.ensure_future(read())
    waiting = asyncio.ensure_future(begun.wait())
    await asyncio.wait([reading, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=20)
    ended = await pool.terminate(host, name, grace=2, begun=begun.is_set())
    await asyncio.wait([reading], timeout=5)
    for task in (reading, waiting):
        task.cancel()
    await asyncio.gather(reading, waiting, return_exceptions=True)
    await execution.aclose()
    return ended, commands(sshd, "3971")


@pytest.mark.parametrize("shell", SHELLS)
async def test_every_shell(account, ask, pool, endpoint, shell, tmp_path):
    sshd = account(shell)
    done = await ask(sshd, Command(TEXT, VALUES))
    assert (done.out, done.err, done.early, done.ended) == (PRINTED, b"err\n", b"", Exit(3, None, False))
    lines = await ask(sshd, Command("echo one\n\necho two\n# three"))
    assert (lines.out, lines.err, lines.ended) == (b"one\ntwo\n", b"", Exit(0, None, False))
    script = await ask(sshd, Script(SCRIPT, arguments=(ODD,), environment={"V": ODD}))
    assert (script.out.decode(), script.err, script.ended) == (
        f"{ODD}|{ODD}\n",
        b"err\n",
        Exit(4, None, False),
    )
    python = Script("import sys\nprint(sys.argv[1])\nsys.exit(5)\n", "python3", (ODD,))
    assert ((got := await ask(sshd, python)).out.decode(), got.ended) == (f"{ODD}\n", Exit(5, None, False))
    assert (await ask(sshd, Command("kill -KILL $$"))).ended == Exit(None, "KILL", False)
    host = endpoint(port=sshd.port, username=sshd.user.name)
    ended, left = await cancelled(pool, host, sshd, f"{LASTING}\n")
    assert (ended.state, left) == ("confirmed", []), ended


async def test_a_restricted_shell_runs_what_ssh_can_run_there(account, ask, pool, endpoint):
    sshd = account("rbash")
    done = await ask(sshd, Command(TEXT, VALUES))
    assert (done.out, done.err, done.ended) == (PRINTED, b"err\n", Exit(3, None, False))
    refused = await ask(sshd, Command("/bin/echo no"))
    assert refused.ended == Exit(1, None, False) and b"restricted" in refused.err
    script = await ask(sshd, Script(f"touch {sshd.user.home}/ran\n"))
    assert isinstance(script.ended, NotBegun) and script.ended.status == 1 and b"restricted" in script.err
    assert not (sshd.user.home / "ran").exists()
    ended, left = await cancelled(pool, endpoint(port=sshd.port, username=sshd.user.name), sshd)
    assert ended.state == "unconfirmed" and left, ended


@pytest.mark.parametrize(("shell", "status"), [("false", 1), ("true", 0)])
async def test_an_account_without_a_shell(account, ask, shell, status):
    sshd = account(shell)
    for program in (Command("echo ran"), Script("echo ran\n"), Command("echo $V", VALUES)):
        done = await ask(sshd, program)
        assert isinstance(done.ended, NotBegun) and done.ended.status == status
        assert done.early == done.out == b""


@pytest.mark.parametrize(
    ("shell", "file", "text", "early"),
    [
        ("bash", ".bashrc", r"printf 'one\033(B'", b"one\x1b(B"),
        ("bash", ".bashrc", "echo testum-1; printf testum-", b"testum-1\ntestum-"),
        ("bash", ".bashrc", "head -c 20 >/dev/null", b""),
        ("bash", ".bashrc", "set -eu", b""),
        ("bash", ".bashrc", "set -k", b""),
        ("zsh", ".zshenv", "setopt nounset; printf one; read answer", b"one"),
        ("tcsh", ".tcshrc", "printf one; set answer = $<", b"one"),
    ],
)
async def test_start_up_files_that_get_in_the_way_of_nothing(
    account, ask, pool, endpoint, shell, file, text, early
):
    sshd = account(shell)
    (sshd.user.home / file).parent.mkdir(parents=True, exist_ok=True)
    (sshd.user.home / file).write_text(f"{text}\n")
    done = await ask(sshd, Command(TEXT, VALUES))
    assert (done.early, done.out, done.ended) == (early, PRINTED, Exit(3, None, False))
    script = await ask(sshd, Script(SCRIPT, arguments=(ODD,), environment={"V": ODD}))
    assert (script.early, script.out.decode(), script.ended) == (
        early,
        f"{ODD}|{ODD}\n",
        Exit(4, None, False),
    )
    host = endpoint(port=sshd.port, username=sshd.user.name)
    ended, left = await cancelled(pool, host, sshd)
    assert (ended.state, left) == ("confirmed", []), ended


@pytest.mark.parametrize("shell", ["bash", "zsh"])
async def test_a_start_up_file_that_sends_the_output_to_stderr(account, ask, pool, endpoint, key_file, shell):
    """What ran is told as having run, and its output stands where the account has put it."""
    sshd = account(shell, {AGAIN[shell]: "echo early; exec >&2\n"})
    for program in (Command("echo ran; exit 3"), Script("echo ran; exit 3", shell)):
        done = await ask(sshd, program)
        assert (done.out, done.ended) == (b"", Exit(3, None, False)), done
        assert done.err.endswith(b"ran\n") and b"testum" not in done.early + done.err, done
    host = endpoint(port=sshd.port, username=sshd.user.name)
    ended, left = await cancelled(pool, host, sshd)
    assert (ended.state, left) == ("confirmed", []), ended
    line = Path(f"{key_file}.pub").read_text().strip()
    deployed = await deploy_keys(pool, host, [line], marker=marker(), timeouts=Timeouts(total=20))
    assert deployed.added == [line]


async def test_a_commands_end_is_the_accounts(account, ask):
    """No trap of ours takes the place of its own, or makes bash lose the status of a pipeline."""
    sshd = account()
    done = await ask(sshd, Command("set -eu; set -o pipefail; true | cat; echo $NOPE | cat; exit 3"))
    assert (done.ended, done.err.count(b"\n")) == (Exit(1, None, False), 1), done.err
    (sshd.user.home / ".bashrc").write_text("trap 'echo bye; exit 7' EXIT\n")
    done = await ask(sshd, Command("exit 3"))
    assert (done.out, done.ended) == (b"bye\n", Exit(7, None, False))


@pytest.mark.parametrize("shell", ["bash", "zsh"])
async def test_a_start_up_file_that_traces_shows_no_settings(account, ask, shell):
    sshd = account(shell, {AGAIN[shell]: "set -x\n"})
    secret = "geheim1234"
    for program in (
        Command("echo ran", {"V": secret}),
        Script("echo ran", shell, (secret,), {"V": secret}),
    ):
        done = await ask(sshd, program)
        assert (done.out, done.ended) == (b"ran\n", Exit(0, None, False)), done
        assert secret.encode() not in done.early + done.err, done.err


AGAIN = {"bash": ".bashrc", "zsh": ".zshenv"}
"""A script's interpreter runs these once more: bash where it finds that sshd started it, zsh always."""


@pytest.mark.parametrize(
    "text", ["read -r answer", "head -c 30 >/dev/null", "alias cat='cat -n'; cat() { tr a-m n-z; }"]
)
@pytest.mark.parametrize("shell", AGAIN)
async def test_what_an_interpreters_start_up_file_takes_is_none_of_the_script(account, ask, shell, text):
    sshd = account(shell, {AGAIN[shell]: f"{text}\nexport -f cat 2>/dev/null\ntrue\n"})
    script = await ask(sshd, Script(SCRIPT, shell, (ODD,), {"V": ODD}))
    assert (script.out.decode(), script.err, script.ended) == (
        f"{ODD}|{ODD}\n",
        b"err\n",
        Exit(4, None, False),
    )


CHANGED = {
    "a cat that numbers lines": ("bash", "PATH=~/bin:$PATH", {}),
    "a name that is readonly": ("bash", "readonly NAME=x", {"NAME": "y"}),
    "a name that bash keeps to itself": ("bash", "", {"UID": "5"}),
    "a name that bash quietly keeps to itself": ("bash", "", {"GROUPS": "5"}),
    "a name that zsh quietly keeps to itself": ("zsh", "", {"RANDOM": "5"}),
    "a name of ours": ("bash", "readonly TESTUM_SET=x", {}),
    "our newline": ("bash", "readonly TESTUM_NL=x", {"V": "a\nb"}),
    "a set that is a function": ("bash", 'set() { builtin set "$@"; }; export -f set', {}),
    "an eval that is a function": ("bash", 'eval() { builtin eval "$@"; }; export -f eval', {}),
    "an echo that adds to it": ("bash", "echo() { builtin echo more; }", {"V": "a\nb"}),
    "no stdout": ("bash", "exec >&-", {}),
    "no stdout of zsh": ("zsh", "exec >&-", {}),
    "stdout into nothing": ("bash", "exec >/dev/null", {}),
    "stdout into a file": ("bash", "exec >>~/log", {}),
    "a name that zsh keeps to itself": ("zsh", "", {"UID": "5"}),
}


@pytest.mark.parametrize("case", CHANGED)
async def test_a_program_that_would_not_run_as_it_was_given_does_not_begin(account, ask, case):
    shell, text, values = CHANGED[case]
    sshd = account(shell, {AGAIN[shell]: f"{text}\n"})
    folder = sshd.user.home / "bin"
    folder.mkdir()
    (folder / "cat").write_text('#!/bin/sh\nexec /bin/cat -n "$@"\n')
    (folder / "cat").chmod(0o755)
    ran = sshd.user.home / "ran"
    programs = [Script(f"touch {ran}\n", shell, ("x",), values)]
    if "cat" not in case and "a function" not in case:
        programs.append(Command(f"touch {ran}", values))
    for program in programs:
        done = await ask(sshd, program)
        assert isinstance(done.ended, NotBegun) and done.ended.status != 0, done.ended
    assert not ran.exists(), "it was run"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("exec fish", None),
        ("exec sh", 255),
        ("exec busybox sh", 255),
        ("exec tcsh", None),
        ("exec python3", 1),
        ("exec cat >/dev/null", 0),
        ("cat >/dev/null", 255),
        ("exit 0", 0),
    ],
)
async def test_start_up_files_that_keep_a_program_from_beginning(account, ask, pool, endpoint, text, status):
    sshd = account()
    (sshd.user.home / ".bashrc").write_text(f"{text}\n")
    secret = "geheim1234"
    ran = sshd.user.home / "ran"
    for program in (
        Command(f"touch {ran}"),
        Command(f"touch {ran}\ntouch {ran}", {"V": secret}),
        Script(f"touch {ran}\ntouch {ran}\n", arguments=(secret,), environment={"V": secret}),
        Script(f"open('{ran}', 'w')\n", "python3", (secret,)),
    ):
        done = await ask(sshd, program)
        assert isinstance(done.ended, NotBegun), done.ended
        assert status is None or done.ended.status == status
        assert secret.encode() not in done.early + done.err and done.out == b""
    assert not ran.exists(), "something of it was run"
    host = endpoint(port=sshd.port, username=sshd.user.name)
    ended, _ = await cancelled(pool, host, sshd, "sleep 3971\nsleep 3971\n")
    assert ended.state == "unconfirmed", ended


async def test_a_start_up_file_that_puts_something_before_each_line(account, pool, endpoint, key_file):
    sshd = account(files={".bashrc": "exec > >(sed 's/^/[x] /')\n"})
    host = endpoint(port=sshd.port, username=sshd.user.name)
    ended, left = await cancelled(pool, host, sshd)
    assert (ended.state, left) == ("confirmed", []), ended
    line = Path(f"{key_file}.pub").read_text().strip()
    deployed = await deploy_keys(pool, host, [line], marker=marker(), timeouts=Timeouts(total=20))
    assert deployed.added == [line]


async def test_a_deployment_whose_answer_is_lost_says_so(account, pool, endpoint, key_file):
    sshd = account(files={".bashrc": "exec > >(grep --line-buffered -o 'testum-[0-9]* [0-9]*$')\n"})
    host = endpoint(port=sshd.port, username=sshd.user.name)
    line = Path(f"{key_file}.pub").read_text().strip()
    with pytest.raises(DeployFailed, match="not known"):
        await deploy_keys(pool, host, [line], marker=marker(), timeouts=Timeouts(total=20))
    assert line in (sshd.user.home / ".ssh/authorized_keys").read_text()


async def test_what_is_repeated_many_times_keeps_nobody_waiting(account, ask):
    """More than the window of a channel takes."""
    sshd = account(files={".bashrc": "exec sed 'p;p;p;p'\n"})
    done = await ask(sshd, Script("pass\n" * 200_000, "python3"))
    assert isinstance(done.ended, NotBegun) and len(done.early) < 300, done.ended


@pytest.mark.parametrize("text", ["exec cat", "printf one; exec cat", "while read -r it; do echo $it; done"])
async def test_a_start_up_file_that_repeats_what_it_reads_shows_no_secret(account, ask, text):
    sshd = account(files={".bashrc": f"{text}\n"})
    secret = "geheim1234"
    for program in (
        Command("true", {"V": secret}),
        Script("true\n", arguments=(secret,), environment={"V": secret}),
        Script("pass\n" * 100_000, "python3", (secret,)),
    ):
        done = await ask(sshd, program)
        assert isinstance(done.ended, NotBegun), done.ended
        assert secret.encode() not in done.early + done.out + done.err
        assert len(done.early) < 100, done.early


@pytest.mark.parametrize(("forced", "runs"), [('exec sh -c "$SSH_ORIGINAL_COMMAND"', True), ("cat", False)])
async def test_a_forced_command(account, ask, forced, runs):
    sshd = account(options=[f"ForceCommand {forced}"])
    done = await ask(sshd, Command("echo ran"))
    if runs:
        assert (done.out, done.ended) == (b"ran\n", Exit(0, None, False))
    else:
        assert isinstance(done.ended, NotBegun) and done.ended.status == 0 and done.out == b""
