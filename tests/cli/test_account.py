"""Login, the token file, and renewal."""

import io
import json
import stat
from pathlib import Path

import pytest

from testum.cli import config
from testum.cli.account import login, read_secret
from testum.cli.failures import WrongUse
from testum.cli.session import normal_url

from .conftest import Cli
from .fake_api import FakeApi


def test_login_keeps_a_private_file_and_logout_removes_it(anonymous: Cli, fake: FakeApi) -> None:
    ran = anonymous("login", "--username", "admin", "--password-stdin", stdin=b"secret\n")
    assert ran.stdout.decode() == f"Logged in at {fake.url} as admin (admin).\n"
    assert stat.S_IMODE(anonymous.config.stat().st_mode) == 0o600
    assert {path.name for path in anonymous.config.parent.iterdir()} == {"config.json", "config.json.lock"}
    # The server that was logged in at is the usual one from then on.
    anonymous.extra["TESTUM_URL"] = ""
    assert b"username: admin" in anonymous("whoami").stdout
    assert anonymous("logout").returncode == 0
    assert not fake.refresh
    assert json.loads(anonymous.config.read_text())["accounts"] == {}
    assert anonymous("whoami", "--url", fake.url).returncode == 3


def test_a_password_may_come_from_the_environment(anonymous: Cli) -> None:
    anonymous.extra["TESTUM_PASSWORD"] = "secret"
    assert anonymous("login", "-u", "admin").returncode == 0


def test_a_password_is_asked_for_unseen(anonymous: Cli, fake: FakeApi) -> None:
    fake.must_change = True
    terminal = anonymous.terminal("login")
    terminal.read_until("Username")
    terminal.press(b"admin\n")
    terminal.read_until("Password: ")
    terminal.press(b"secret\n")
    assert terminal.finish() == 0
    assert "secret" not in terminal.text and "testum passwd" in terminal.text


def test_ctrl_c_at_a_prompt_is_130(anonymous: Cli) -> None:
    terminal = anonymous.terminal("login", "-u", "admin")
    terminal.read_until("Password: ")
    terminal.press(b"\x03")
    assert terminal.finish() == 130
    assert "Traceback" not in terminal.text


def test_a_refused_login_stores_nothing(anonymous: Cli) -> None:
    ran = anonymous("login", "-u", "admin", "--password-stdin", stdin=b"wrong\n")
    assert (ran.returncode, ran.stderr) == (3, b"testum: The user name or the password is wrong.\n")
    assert not anonymous.config.exists()


@pytest.mark.parametrize(
    ("host", "warned"), [("127.0.0.1", False), ("[::1]", False), ("localhost", False), ("host.invalid", True)]
)
def test_a_password_that_others_could_read_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    host: str,
    warned: bool,
) -> None:
    """It is said before the password is asked for."""
    monkeypatch.setenv("TESTUM_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.delenv("TESTUM_PASSWORD", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(WrongUse, match="nothing came"):
        login(f"http://{host}:8000", "admin", password_stdin=True)
    assert ("is not encrypted" in capsys.readouterr().err) == warned


def test_no_password_to_be_had_is_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    monkeypatch.delenv("TESTUM_PASSWORD", raising=False)
    with pytest.raises(WrongUse, match="--password-stdin or set TESTUM_PASSWORD"):
        read_secret("Password", variable="TESTUM_PASSWORD")
    with pytest.raises(WrongUse, match="nothing came"):
        read_secret("Password", from_stdin=True)


def test_a_file_that_others_may_read_is_closed(cli: Cli) -> None:
    cli.config.chmod(0o644)
    ran = cli("whoami")
    assert ran.returncode == 0 and b"could be read by others" in ran.stderr
    assert stat.S_IMODE(cli.config.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"accounts": {"u": {}}}', '{"accounts": []}'])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    path.chmod(0o600)
    monkeypatch.setenv("TESTUM_CONFIG", str(path))
    with pytest.raises(WrongUse, match="is damaged"):
        config.load()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTUM_CONFIG", str(tmp_path / "config.json"))
    config.save(config.Config("http://old"))
    monkeypatch.setattr(
        "os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(WrongUse, match="No space left"):
        config.save(config.Config("http://new"))
    assert config.load().url == "http://old"
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_token_is_not_sent_to_another_server(cli: Cli, fake: FakeApi) -> None:
    ran = cli("whoami", "--url", fake.url.replace("127.0.0.1", "localhost"))
    assert ran.returncode == 3 and b"Not logged in at http://localhost" in ran.stderr


def test_testum_token_counts_first_and_is_not_renewed(cli: Cli, fake: FakeApi) -> None:
    cli.extra["TESTUM_TOKEN"] = "wrong"
    ran = cli("whoami")
    assert ran.returncode == 3 and b"The login is not valid." in ran.stderr
    assert fake.refreshes == 0


def test_an_expired_token_is_renewed_and_stored(cli: Cli, fake: FakeApi) -> None:
    fake.access.clear()
    assert cli("whoami").returncode == 0
    assert cli("whoami").returncode == 0
    assert (fake.refreshes, fake.reused) == (1, 0)
    assert stat.S_IMODE(cli.config.stat().st_mode) == 0o600


def test_several_at_once_use_a_refresh_token_once(cli: Cli, fake: FakeApi) -> None:
    fake.access.clear()
    fake.refresh_delay = 0.5
    processes = [cli.start("whoami") for _ in range(3)]
    assert [process.wait(20) for process in processes] == [0, 0, 0]
    assert (fake.refreshes, fake.reused) == (1, 0)


def test_a_login_that_has_ended_says_what_to_do(cli: Cli, fake: FakeApi) -> None:
    fake.access.clear()
    fake.refresh.clear()
    ran = cli("whoami")
    assert ran.returncode == 3
    assert ran.stderr == b"testum: The login is not valid. Log in with `testum login`, or set TESTUM_TOKEN.\n"


def test_a_server_that_is_not_there(cli: Cli) -> None:
    cli.extra["TESTUM_TOKEN"] = "x"
    ran = cli("whoami", "--url", "http://127.0.0.1:1")
    assert ran.returncode == 3 and b"cannot be reached" in ran.stderr and b"Traceback" not in ran.stderr


@pytest.mark.parametrize("text", ["ftp://x", "http://", "http://u:p@h", "http://h:99999", "", "http://h?x=1"])
def test_what_is_not_an_address_is_wrong_use(text: str) -> None:
    with pytest.raises(WrongUse):
        normal_url(text)


def test_addresses_that_mean_the_same_are_the_same() -> None:
    for text in ("h:8000", "http://h:8000/", "http://h:8000/api/v1/"):
        assert normal_url(text) == "http://h:8000"
    assert normal_url("https://h/testum/") == "https://h/testum"
