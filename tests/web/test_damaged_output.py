"""Output that is not any more what was stored: told as that by every way to it, and never taken for an empty one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.application import Listening
from tests.support.server import Api
from tests.support.sshd import RealSshd
from tests.support.stream import follow, output_of
from tests.support.tools import unique
from tests.support.waiting import until
from testum.core.frames import HEADER_SIZE, decode_all
from testum.services import output_groups, output_reading

LINE = b"%06d and so on and so forth\n"
COUNT = 30_000


@pytest.fixture(scope="module")
def installation() -> Iterator[Listening]:
    with Listening() as running:
        yield running


@pytest.fixture(scope="module")
def api(installation: Listening) -> Api:
    return installation.client()


@pytest.fixture
def task(api: Api, real_sshd: RealSshd) -> Any:
    """One that printed more than a row holds."""
    platform = api.add_platform(unique(), real_sshd)
    return api.run(
        f"seq -f '%06g and so on and so forth' {COUNT}; exit 3",
        targets={"platform_ids": [platform["id"]]},
    )


def file_of(installation: Listening, task: Any) -> Path:
    return installation.data_dir / "artifacts" / f"tasks/{task['id'][-2:]}/{task['id']}.frames"


def flip(data: bytes) -> bytes:
    middle = len(data) * 3 // 4
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("change", "begins"),
    [
        (flip, True),
        (lambda data: data[: len(data) * 3 // 4], True),
        (lambda data: data[: HEADER_SIZE + len(decode_all(data)[0].data)], True),
        (lambda data: data + data, True),
        (lambda data: b"\0" * len(data), False),
        (lambda data: b"", False),
        (None, False),
    ],
    ids=["flipped", "cut", "cut between frames", "twice", "zeros", "emptied", "gone"],
)
def test_a_file_that_is_not_what_was_stored(
    installation: Listening, api: Api, task: Any, change: Callable[[bytes], bytes] | None, begins: bool
) -> None:
    file = file_of(installation, task)
    whole = b"".join(LINE % (number + 1) for number in range(COUNT))
    assert api.http.get(f"/tasks/{task['id']}/output").content == whole
    before = follow(api, f"tasks/{task['id']}")
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes()))
    code = "output_missing" if change is None else "output_damaged"
    codes = {"output_missing", "output_damaged"} if file.exists() and not file.stat().st_size else {code}

    answer = api.http.get(f"/tasks/{task['id']}/output")
    assert answer.status_code == 410 and answer.json()["code"] in codes, answer.text[:200]

    def ask() -> httpx2.Response:
        return api.http.get(f"/tasks/{task['id']}/lines", params={"limit": 5})

    # Until all of it has been counted.
    until(lambda: ask().json().get("complete", True))
    lines = ask()
    if begins:
        told = lines.json()
        assert lines.status_code == 200, lines.text
        assert told["error_code"] in codes and told["complete"] and told["error_message"]
        assert [line["text"] for line in told["lines"]][:1] == ["000001 and so on and so forth"]
        found = api.get(f"/tasks/{task['id']}/lines/search", q="000001")
        assert (found["count"], found["error_code"]) == (1, told["error_code"])
    else:
        assert lines.status_code == 410 and lines.json()["code"] in codes

    for path in (f"tasks/{task['id']}", f"jobs/{task['job_id']}"):
        told = follow(api, path)
        done = next(message for message in told if message["type"] == "done" and message["task_id"])
        assert done["data"]["output_error"]["code"] in codes
        assert done["data"]["error_code"] == "exit_status"
        shown = output_of(told, "stdout", "stderr")
        assert whole.startswith(shown) and bool(shown) is begins, path
    assert [message["seq"] for message in follow(api, f"tasks/{task['id']}")][-2:] == [
        message["seq"] for message in before
    ][-2:]
    assert api.get(f"/jobs/{task['job_id']}/outputs")["complete"]
    assert api.http.get(f"/tasks/{task['id']}/compare/{task['id']}").json().get("code") in {None, *codes}


@pytest.mark.embedded
def test_a_file_of_a_release_without_checksums(installation: Listening, api: Api, task: Any) -> None:
    file = file_of(installation, task)
    data = bytearray(file.read_bytes())
    place = 0
    for frame in decode_all(bytes(data)):
        data[place + 13 : place + HEADER_SIZE] = bytes(3)
        place += HEADER_SIZE + len(frame.data)
    file.write_bytes(data)
    assert api.http.get(f"/tasks/{task['id']}/output").content.count(b"\n") == COUNT
    told = api.get(f"/tasks/{task['id']}/lines", tail=True, limit=2)
    assert (told["total"], told["error_code"]) == (COUNT, None)
    assert len(output_of(follow(api, f"tasks/{task['id']}"), "stdout")) == len(LINE % 1) * COUNT


@pytest.mark.walls
@pytest.mark.parametrize("change", ["changed", "gone"])
def test_a_row_that_is_not_what_was_stored(
    installation: Listening, api: Api, real_sshd: RealSshd, change: str
) -> None:
    platform = api.add_platform(f"row-{change}", real_sshd)
    task = api.run("echo a few words", targets={"platform_ids": [platform["id"]]})
    key = task["id"] if installation.servers else task["id"].replace("-", "")
    (stored,) = installation.execute(f"SELECT frames FROM task_outputs WHERE task_id = '{key}'")
    if change == "changed":
        row = {"id": key, "frames": bytes(stored[0]).replace(b"few", b"fee")}
        installation.execute("UPDATE task_outputs SET frames = :frames WHERE task_id = :id", row)
    else:
        installation.execute("DELETE FROM task_outputs WHERE task_id = :id", {"id": key})
    answer = api.http.get(f"/tasks/{task['id']}/output")
    code = "output_damaged" if change == "changed" else "output_missing"
    if change == "changed" or not installation.servers:
        assert (answer.status_code, answer.json()["code"]) == (410, code), answer.text


def make_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


@pytest.mark.embedded
@pytest.mark.parametrize(
    "change", [make_directory, make_loop, Path.unlink], ids=["directory", "loop", "gone"]
)
def test_a_file_that_cannot_be_read_until_it_is_restored(
    installation: Listening,
    api: Api,
    task: Any,
    change: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a broken disk. It is told as damage, and not any more once a backup is back."""
    for module in (output_reading, output_groups):
        monkeypatch.setattr(module, "FAULT_SECONDS", 0.0)
    file = file_of(installation, task)
    data = file.read_bytes()
    path = f"/tasks/{task['id']}"
    outputs = f"/jobs/{task['job_id']}/outputs"
    change(file)
    try:
        for url in (f"{path}/output", f"{path}/lines", f"{path}/compare/{task['id']}"):
            answer = api.http.get(url)
            assert answer.status_code == 410, answer.text
            assert answer.json()["code"] in ("output_damaged", "output_missing"), url
        told = api.http.get(f"{path}/lines/search", params={"q": "000001"}).json()
        assert told.get("error_code") or told["code"] == "output_damaged"
        told = follow(api, path.removeprefix("/"))
        assert told[-1]["data"]["output_error"]["code"] in ("output_damaged", "output_missing")
        assert api.get(outputs)["complete"]
    finally:
        if file.is_dir():
            file.rmdir()
        file.unlink(missing_ok=True)
        file.write_bytes(data)
    assert api.http.get(f"{path}/output").content.count(b"\n") == COUNT

    def counted() -> bool:
        lines = api.get(f"{path}/lines", tail=True, limit=2)
        return (lines["total"], lines["complete"], lines["error_code"]) == (COUNT, True, None)

    until(counted)
    until(lambda: api.get(f"{path}/lines/search", q="000001")["count"] == 1)


@pytest.mark.embedded
def test_output_groups_after_a_restore(
    installation: Listening, api: Api, real_sshd: RealSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that printed the same, one was damaged for a while."""
    monkeypatch.setattr(output_groups, "FAULT_SECONDS", 0.0)
    names = [api.add_platform(unique(), real_sshd)["name"] for _ in range(2)]
    job_id = api.start_job(f"seq {COUNT}", targets={"names": names})
    api.wait_job(job_id)
    file = file_of(installation, api.tasks(job_id)[0])
    data = file.read_bytes()
    file.write_bytes(flip(data))
    until(lambda: (told := api.get(f"/jobs/{job_id}/outputs"))["complete"] and told["total"] == 2)
    file.write_bytes(data)
    until(lambda: (told := api.get(f"/jobs/{job_id}/outputs"))["complete"] and told["total"] == 1)
