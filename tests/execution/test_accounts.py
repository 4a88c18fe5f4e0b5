"""Accounts of every kind, through jobs: each login shell with each kind of start-up file, by every action. What a task
says is what happened on the host: a success ran exactly once, what did not begin left nothing, and what was ended is gone.

The accounts of a shell share a home: its start-up file does what belongs to the address that was connected to.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ssh.test_accounts import path_of
from tests.ssh.test_run import marker
from tests.support.application import Application
from tests.support.server import Api
from tests.support.sshd import LoginUser, RealSshd
from tests.support.waiting import until

POSIX = "testum_at=${SSH_CONNECTION% *}; . ~/start/${testum_at##* }\n"
CSH = "set at = ( $SSH_CONNECTION )\nsource ~/start/$at[3]\n"
FISH = "set at (string split ' ' $SSH_CONNECTION)\nsource ~/start/$at[3]\n"
START_UP = {
    "bash": (".bashrc", POSIX),
    "rbash": (".bashrc", POSIX),
    "zsh": (".zshenv", POSIX),
    "tcsh": (".cshrc", CSH),
    "bsd-csh": (".cshrc", CSH),
    "fish": (".config/fish/config.fish", FISH),
    # These read none for a command; sshd runs this one before each (sshd(8), SSHRC).
    **dict.fromkeys(["sh", "dash", "mksh", "busybox"], (".ssh/rc", POSIX)),
    "nologin": (".profile", ""),
}

KINDS = ["none", "line", "no newline", "reads", "another shell", "fails", "exits", "sleeps"]
READS = {".cshrc": 'set answer = "$<"', ".config/fish/config.fish": "read answer"}
# A line that the facts would take for theirs.
PRINTED = {"line": b"hostname=printed\n", "no newline": b"hostname=printed"}
NEVER_BEGIN = {"another shell": None, "exits": 7}
"""Kinds that keep a shell from going on, with the exit status where it is theirs."""
EXIT_ENDS_THE_FILE = ("tcsh", "bsd-csh", "fish")
"""Shells of which `exit` in a start-up file ends no more than that."""

WHERE = "at=${SSH_CONNECTION% *}; "
VALUE = "it's\n\\n !$HOME `id` \"\n"
COMMAND = WHERE + 'echo "ran $V" | tee -a ~/"${at##* }.command"; echo err >&2; exit 3'
SCRIPT = WHERE + 'printf "%s|%s\\n" "$1" "$V"\necho ran >>~/"${at##* }.script"\n'
LASTING = WHERE + 'echo go | tee -a ~/"${at##* }.@NAME@"; sleep @SECONDS@; sleep @SECONDS@'
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2"
SECONDS = {"cancel": "3981", "timeout": "3982"}


def _text(kind: str, shell: str, file: str) -> str:
    """What the start-up file does."""
    return {
        "none": "",
        "line": "echo hostname=printed",
        "no newline": "printf hostname=printed",
        "reads": READS.get(file, "read -r answer"),
        "another shell": "exec zsh" if shell != "zsh" else "exec bash",
        "fails": "ls /nonexistent >& /dev/null" if file == ".cshrc" else "ls /nonexistent 2>/dev/null; false",
        "exits": "exit 7",
        "sleeps": "sleep 2",
    }[kind] + "\n"


@dataclass(frozen=True)
class Account:
    """One way to log in, and what is to be expected of it."""

    shell: str
    kind: str
    sshd: RealSshd
    user: LoginUser
    address: str

    @property
    def begins(self) -> bool:
        """Whether a command begins there."""
        if self.shell in ("nologin", "forced"):
            return False
        if START_UP[self.shell][0] == ".ssh/rc" or (
            self.kind == "exits" and self.shell in EXIT_ENDS_THE_FILE
        ):
            return True
        return self.kind not in NEVER_BEGIN

    @property
    def runs_scripts(self) -> bool:
        """Whether it may start a program by its path."""
        return self.begins and self.shell != "rbash"

    @property
    def printed(self) -> bytes:
        """What its start-up file prints."""
        if self.shell in ("nologin", "forced"):
            return b""
        return PRINTED.get(self.kind, b"")

    def counted(self, name: str) -> str:
        """What its programs of this name left."""
        file = self.user.home / f"{self.address}.{name}"
        return file.read_text() if file.exists() else ""

    def living(self, name: str) -> list[int]:
        """Its processes of the program of this name."""
        found = []
        for pid in self.user.processes():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                place = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            if SECONDS[name].encode() in words and f" {self.address} ".encode() in place:
                found.append(pid)
        return found


def _kinds(shell: str, *, all_of_them: bool) -> list[tuple[int, str]]:
    """The start-up files to try with a shell: where sshd runs them, or another shell reads such ones, a few will do, and one
    in each `make test`."""
    numbered = list(enumerate(KINDS))
    if shell == "nologin":
        return numbered[:1]
    if all_of_them or shell in ("bash", "fish"):
        return numbered
    few = ("no newline", "another shell") if shell in ("zsh", "tcsh") else ("no newline",)
    return [(number, kind) for number, kind in numbered if kind in few]


@contextmanager
def _accounts(folder: Path, *, all_of_them: bool) -> Iterator[list[Account]]:
    with ExitStack() as stack:
        users: dict[str, LoginUser] = {}
        for shell, (file, beginning) in START_UP.items():
            users[shell] = user = LoginUser(shell=path_of(shell, folder))
            stack.callback(user.remove)
            # fish makes its own folder, and complains where another fish does so at the same time.
            for made in ((user.home / file).parent, user.home / "start", user.home / ".local/share/fish"):
                made.mkdir(parents=True, exist_ok=True)
            (user.home / file).write_text(beginning)
            for number, kind in enumerate([*KINDS, "none"]):
                (user.home / "start" / RealSshd.address(number)).write_text(_text(kind, shell, file))
            for path in user.home.rglob("*"):
                shutil.chown(path, user.uid, user.gid)
        sshd = RealSshd(user=users["sh"], addresses=len(KINDS))
        stack.callback(sshd.close)
        # An address more, to tell what it leaves in the account's home.
        forced = RealSshd(user=users["sh"], addresses=len(KINDS) + 1, options=["ForceCommand echo forced"])
        stack.callback(forced.close)
        yield [
            *(
                Account(shell, kind, sshd, user, RealSshd.address(number))
                for shell, user in users.items()
                for number, kind in _kinds(shell, all_of_them=all_of_them)
            ),
            Account("forced", "none", forced, users["sh"], RealSshd.address(len(KINDS))),
        ]


class _Cells:
    """The tasks of one job by their accounts, and what is wrong with them."""

    def __init__(self, api: Api, accounts: dict[str, Account]) -> None:
        self._api = api
        self.accounts = accounts
        self.wrong: list[str] = []

    def of(self, job_id: str) -> Iterator[tuple[Account, Any, bytes]]:
        """Each account with its task and the task's stdout."""
        self._api.wait_job(job_id)
        tasks = self._api.tasks(job_id)
        assert len(tasks) == len(self.accounts)
        for task in tasks:
            yield self.accounts[task["platform_id"]], task, self._api.output(task["id"])

    def open(self, job_id: str) -> list[str]:
        """Of which accounts, that run scripts, something may still be at work."""
        left = [
            self.accounts[task["platform_id"]] for task in self._api.tasks(job_id) if task["may_still_run"]
        ]
        return [f"{account.shell} {account.kind}" for account in left if account.runs_scripts]

    def expect(self, account: Account, name: str, said: object, right: object) -> None:
        """Keep what is not as it should be."""
        if said != right:
            self.wrong.append(f"{name} on {account.shell}, {account.kind}: {said!r}, not {right!r}")

    def not_begun(self, account: Account, name: str, task: Any, output: bytes) -> None:
        """That the task says that it was not begun, with the shell's words and status."""
        words = {"nologin": b"not available", "forced": b"forced"}.get(account.shell, b"")
        if account.shell == "rbash" and account.begins:
            output += self._api.output(task["id"], "stderr")
            words = b"restricted"
        said = task["status"], task["error_code"], task["exit_code"] is not None, words in output
        self.expect(account, name, said, ("failed", "not_begun", True, True))
        status = NEVER_BEGIN.get(account.kind)
        if status is not None and not account.begins:
            self.expect(account, name, task["exit_code"], status)


def _ended(task: Any) -> tuple[str, str | None, str | None]:
    return (
        task["status"],
        task["error_code"],
        ((task["metadata"] or {}).get("termination") or {}).get("state"),
    )


@pytest.mark.parametrize(
    "all_of_them", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some of each", "all"]
)
def test_every_shell_and_every_start_up_file(request: Any, all_of_them: bool) -> None:
    folder = Path("/usr/local/lib") / f"testum-t-{marker()}"
    folder.mkdir()
    request.addfinalizer(lambda: shutil.rmtree(folder))
    with _accounts(folder, all_of_them=all_of_them) as accounts, Application(mode="embedded") as testum:
        api = testum.client()
        of = {
            api.add_platform(
                f"{account.shell}-{number}",
                account.sshd,
                host=account.address,
                username=account.user.name,
                password=account.user.password,
            )["id"]: account
            for number, account in enumerate(accounts)
        }
        cells = _Cells(api, of)
        wide = {"concurrency": len(accounts)}
        key = api.post("/keys/", {"name": "added", "public_key": KEY})
        command = api.start_job(COMMAND, environment={"V": "a!b"}, **wide)
        script = api.start_job(
            type="run_script",
            script={"text": SCRIPT, "arguments": [VALUE]},
            environment={"V": VALUE},
            **wide,
        )
        facts = api.start_job(type="gather_facts", **wide)
        deploy = api.start_job(type="deploy", key_ids=[key["id"]], **wide)
        for account, task, output in cells.of(command):
            cells.expect(account, "command ran", account.counted("command"), "ran a!b\n" * account.begins)
            if not account.begins:
                cells.not_begun(account, "command", task, output)
                continue
            said = task["status"], task["error_code"], task["exit_code"]
            cells.expect(account, "command", said, ("failed", "exit_status", 3))
            cells.expect(account, "command", output, account.printed + b"ran a!b\n")
            cells.expect(account, "command", api.output(task["id"], "stderr"), b"err\n")
        for account, task, output in cells.of(script):
            cells.expect(account, "script ran", account.counted("script"), "ran\n" * account.runs_scripts)
            if not account.runs_scripts:
                cells.not_begun(account, "script", task, output)
                continue
            cells.expect(account, "script", (task["status"], task["exit_code"]), ("success", 0))
            cells.expect(account, "script", output, account.printed + f"{VALUE}|{VALUE}\n".encode())
            cells.expect(account, "script", api.output(task["id"], "stderr"), b"")
        name = os.uname().nodename
        for account, task, output in cells.of(facts):
            if not account.runs_scripts:
                cells.not_begun(account, "facts", task, output)
                continue
            found = ((task["metadata"] or {}).get("facts") or {}).get("hostname")
            cells.expect(account, "facts", (task["status"], found), ("success", name))
        for account, task, _ in cells.of(deploy):
            there = account.user.home / ".ssh" / "authorized_keys"
            times = there.read_text().count(KEY) if there.exists() else 0
            if not account.runs_scripts:
                # It prints nothing of its own: the shell's words are in its reason.
                cells.not_begun(account, "deploy", task, task["error_message"].encode())
                if account.shell in ("nologin", "rbash"):
                    cells.expect(account, "deploy", times, 0)
                continue
            cells.expect(account, "deploy", (task["status"], times), ("success", 1))
        _end(api, accounts, cells, wide)
        assert not cells.wrong, "\n".join(cells.wrong)


def _end(api: Api, accounts: list[Account], cells: _Cells, wide: dict[str, Any]) -> None:
    """A cancel and a timeout, at once."""

    def lasting(name: str) -> str:
        return LASTING.replace("@NAME@", name).replace("@SECONDS@", SECONDS[name])

    timed = api.start_job(lasting("timeout"), timeout=12, **wide)
    cancelled = api.start_job(lasting("cancel"), **wide)
    begin = [account for account in accounts if account.begins]

    def lacking() -> list[tuple[str, str, str]]:
        return [
            (account.shell, account.kind, name)
            for account in begin
            for name in SECONDS
            if not account.counted(name)
        ]

    until(lambda: not lacking(), otherwise=lacking)
    # And those that do not begin have ended by themselves.
    until(lambda: api.get(f"/jobs/{cancelled}")["counts"]["running"] == len(begin))
    api.post(f"/jobs/{cancelled}/cancel")
    for name, job_id, ended in (
        ("cancel", cancelled, ("cancelled", "cancelled")),
        ("timeout", timed, ("failed", "timeout")),
    ):
        api.wait_job(job_id)
        # Where a busy machine is late with an answer, testum looks again by itself.
        until(
            lambda job_id=job_id: not cells.open(job_id), otherwise=lambda job_id=job_id: cells.open(job_id)
        )
        for account, task, output in cells.of(job_id):
            cells.expect(account, f"{name} ran", account.counted(name), "go\n" * account.begins)
            if not account.begins:
                cells.not_begun(account, name, task, output)
                continue
            # Looking takes a program that a restricted shell does not run: what it cannot end, it does not say is gone.
            looked = account.runs_scripts
            right = (*ended, "confirmed" if looked else "unconfirmed")
            cells.expect(account, name, _ended(task), right)
            cells.expect(account, name, output, account.printed + b"go\n")
            cells.expect(account, f"{name} lives", bool(account.living(name)), not looked)
