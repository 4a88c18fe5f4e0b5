"""The command itself: its help, and the commands of the server's side."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from cryptography.fernet import Fernet

from .conftest import TESTUM, Cli

# Typer itself brings pydantic as soon as a command has options, but not for the list of commands.
HEAVY = (
    "httpx2",
    "rich",
    "uvicorn",
    "sqlalchemy",
    "websockets",
    "fastapi",
    "cryptography",
    "asyncio",
)


@pytest.mark.parametrize("args", [[], ["platforms", "import"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    code = f"import sys; sys.argv = ['testum', *{args!r}, '--help']\nfrom testum.cli.main import main\n"
    code += f"try: main()\nfinally: print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=20)
    assert b"Usage: testum" in ran.stdout and b"LOADED []" in ran.stdout


PRESSES = """
import os, signal, sys
class Presses:
    def find_spec(self, name, *more):
        if name == "testum.cli.failures":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, {before})
sys.meta_path.insert(0, Presses())
sys.argv = ["testum", "--version"]
from testum.__main__ import main
main()
"""
"""Ctrl-C in the middle of the imports."""


@pytest.mark.parametrize(
    ("before", "status"), [("signal.default_int_handler", -signal.SIGINT), ("signal.SIG_IGN", 0)]
)
def test_ctrl_c_before_anything_began_is_silent(before: str, status: int) -> None:
    code = PRESSES.format(before=before)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=20)
    assert (ran.returncode, ran.stderr) == (status, b"")
    assert bool(ran.stdout) == (status == 0)


def test_generate_key(anonymous: Cli) -> None:
    Fernet(anonymous("generate-key").stdout.strip())


def test_a_port_in_use_is_one_line(anonymous: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = anonymous("serve", "--port", str(port))
    assert ran.returncode == 2
    assert ran.stderr.decode() == (
        f"testum: 127.0.0.1:{port} cannot be used: Address already in use. Choose another --port.\n"
    )


def test_a_bad_setting_is_one_line(anonymous: Cli) -> None:
    anonymous.extra["FERNET_KEY"] = "nonsense"
    ran = anonymous("serve", "--port", "0")
    assert ran.returncode == 2
    assert ran.stderr.startswith(b"testum: FERNET_KEY: ") and ran.stderr.count(b"\n") == 1


def test_a_bad_address_is_one_line(anonymous: Cli) -> None:
    ran = anonymous("serve", "--host", "no-such-host.invalid")
    assert ran.returncode == 2 and ran.stderr.count(b"\n") == 1


def test_version() -> None:
    ran = subprocess.run([TESTUM, "--version"], capture_output=True, check=True, timeout=20)
    assert re.fullmatch(rb"testum \d+\.\d+\.\d+\n", ran.stdout)


def test_serve_says_where_it_is_and_ends_with_ctrl_c(anonymous: Cli) -> None:
    anonymous.extra["ADMIN_PASSWORD"] = "a long enough one"
    process = anonymous.start("serve", "--port", "0")
    assert process.stdout
    lines = iter(process.stdout.readline, b"")
    said = next(line for line in lines if line.startswith(b"testum is at "))
    url = said.split()[3].decode()
    with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
        assert answer.status == 200 and "server" not in answer.headers
    assert (
        anonymous(
            "login", "-u", "admin", "--url", url, "--password-stdin", stdin=b"a long enough one\n"
        ).returncode
        == 0
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_a_failed_start_is_one_line(anonymous: Cli) -> None:
    anonymous.extra["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    ran = anonymous("serve", "--port", "0")
    assert ran.returncode == 2
    assert ran.stderr.startswith(b"testum: FERNET_KEY: is not set.") and ran.stderr.count(b"\n") == 1


def test_db_upgrade(anonymous: Cli) -> None:
    ran = anonymous("db", "upgrade")
    assert ran.returncode == 0 and ran.stdout.startswith(b"The database is at revision ")
    assert (anonymous.home / "data" / "testum.db").exists()
