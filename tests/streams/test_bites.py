"""Output that bites: stored exactly, and delivered as valid JSON."""

import hashlib
import random
from typing import Any

import pytest

from tests.support.server import Api
from tests.support.sshd import RealSshd
from tests.support.stream import data_of, follow, messages, output_of, watch
from tests.support.tools import unique

pytestmark = pytest.mark.walls

ESCAPES = b"\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m\x1bP+q\x1b\\\r\x08\x7f\x9b31m"
MARKUP = "<script>alert(1)</script>\u202etxt.exe\u202c \u2028\u2029\ufeff\U0001f600".encode()
BROKEN = b"\xff\xfe\x80\xc3(\xed\xa0\x80\xed\xb0\x80\xf4\x90\x80\x80\xc0\xaf\xe2\x82"
"""No UTF-8: alone, cut off, surrogates, beyond U+10FFFF, overlong; it ends within a character."""

PROGRAM = "import os,sys,random,time\n"


def script(api: Api, platform: Any, text: str, seconds: float = 60) -> Any:
    """Run a Python program on the platform; its task."""
    job_id = api.start_job(
        type="run_script",
        script={"text": PROGRAM + text, "interpreter": "python3"},
        targets={"platform_ids": [platform["id"]]},
    )
    api.wait_job(job_id, seconds)
    (task,) = api.tasks(job_id)
    assert task["status"] == "success", task
    return task


def check(api: Api, task: Any, stdout: bytes, stderr: bytes = b"") -> list[Any]:
    """The download and the stream are the same bytes; the stream's messages."""
    for stream, expected in (("stdout", stdout), ("stderr", stderr)):
        got = api.output(task["id"], stream)
        assert len(got) == len(expected)
        assert hashlib.sha256(got).digest() == hashlib.sha256(expected).digest()
    told = follow(api, f"tasks/{task['id']}")
    assert output_of(told, "stdout") == stdout
    assert output_of(told, "stderr") == stderr
    assert [message["seq"] for message in told] == list(range(len(told)))
    assert api.output(task["id"], "all") == output_of(told, "stdout", "stderr")
    for message in told:
        if message["type"] in ("stdout", "stderr"):
            # No half of a surrogate pair, which no other JSON reader would take.
            message["payload"].encode()
            assert "data" not in message or message["payload"].encode() != data_of(message)
    assert task["output_bytes"] == len(stdout) + len(stderr)
    return told


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\0" * 5000,
        BROKEN,
        ESCAPES,
        MARKUP,
        bytes(range(256)) * 20,
        "ж€😀".encode() * 3000,
        b"\r\n\r\r\n",
    ],
    ids=["NUL", "NULs", "no UTF-8", "escapes", "markup", "every byte", "long characters", "line ends"],
)
def test_odd_bytes(api: Api, platform: Any, data: bytes) -> None:
    task = script(api, platform, f"os.write(1, {data!r}); os.write(2, {data[::-1]!r})")
    check(api, task, data, data[::-1])


@pytest.mark.walls(slow=True)
def test_characters_that_come_in_pieces(api: Api, platform: Any) -> None:
    """A character cut in two by the network is still shown as that character."""
    data = "ж€😀".encode() * 20
    task = script(
        api,
        platform,
        f"for byte in {data!r}:\n    os.write(1, bytes([byte])); time.sleep(0.004)",
    )
    told = check(api, task, data)
    assert not [message for message in told if message["type"] == "stdout" and "data" in message]


@pytest.mark.walls(slow=True)
def test_a_beginning_without_an_end_waits_no_longer_than_the_task(api: Api, platform: Any) -> None:
    task = script(api, platform, r"os.write(1, b'a\xf0\x9f'); time.sleep(0.3); os.write(2, b'b')")
    check(api, task, b"a\xf0\x9f", b"b")


def test_random_bytes_on_both_streams(api: Api, platform: Any) -> None:
    source = (
        "random.seed(7)\n"
        "for _ in range(400):\n"
        "    data = random.randbytes(random.randrange(1, 9000))\n"
        "    os.write(random.choice((1, 2)), data)\n"
    )
    random.seed(7)
    expected = {1: b"", 2: b""}
    for _ in range(400):
        data = random.randbytes(random.randrange(1, 9000))
        expected[random.choice((1, 2))] += data
    check(api, script(api, platform, source), expected[1], expected[2])


@pytest.mark.walls(slow=True)
def test_a_line_of_100_megabytes(api: Api, platform: Any) -> None:
    task = script(api, platform, "for _ in range(100): os.write(1, b'x' * 1_000_000)", 120)
    told = check(api, task, b"x" * 100_000_000)
    assert max(len(message["payload"]) for message in told if message["type"] == "stdout") <= 256 * 1024


@pytest.mark.walls(slow=True)
def test_a_million_short_lines(api: Api, platform: Any) -> None:
    task = script(
        api,
        platform,
        "out = open(1, 'w', buffering=64, closefd=False)\nfor n in range(1_000_000): out.write(f'{n % 10}\\n')\n"
        "out.flush()",
        120,
    )
    told = check(api, task, b"".join(b"%d\n" % (n % 10) for n in range(1_000_000)))
    # As many messages as the pace of output needs, and not one for every line.
    assert len(told) < 5000


def test_interleaved_streams_keep_their_order(api: Api, platform: Any) -> None:
    source = (
        "for n in range(60):\n"
        "    os.write(1, b'o%d\\n' % n); time.sleep(0.01); os.write(2, b'e%d\\n' % n); time.sleep(0.01)\n"
    )
    task = script(api, platform, source)
    check(
        api,
        task,
        b"".join(b"o%d\n" % n for n in range(60)),
        b"".join(b"e%d\n" % n for n in range(60)),
    )
    # Where both streams have something when sshd looks, it sends stdout first: on a busy machine an `o` may
    # thus overtake the `e` before it, but never the other way round.
    lines = api.output(task["id"], "all").split()
    place = {line: number for number, line in enumerate(lines)}
    assert all(place[b"o%d" % n] < place[b"e%d" % n] for n in range(60))
    assert sum(place[b"e%d" % n] < place[b"o%d" % (n + 1)] for n in range(59)) > 30


@pytest.mark.walls(slow=True)
def test_what_a_watcher_says_does_not_end_its_stream(api: Api, platform: Any, real_sshd: RealSshd) -> None:
    gate = real_sshd.user.home / unique()
    job_id = api.start_job(
        f"echo one; until [ -e {gate} ]; do sleep 0.05; done; echo two",
        targets={"platform_ids": [platform["id"]]},
    )
    told = []
    with watch(api, f"jobs/{job_id}") as watching:
        for message in messages(watching):
            told.append(message)
            if message["type"] == "stdout" and "one" in message["payload"]:
                for junk in (b"\xff\x00 no JSON", "no JSON", "[]", '{"type": 5}', "", "x" * 100_000):
                    watching.send(junk)
                gate.touch()
    assert output_of(told, "stdout") == b"one\ntwo\n" and told[-1]["type"] == "done"
