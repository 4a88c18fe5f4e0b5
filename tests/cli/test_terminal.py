"""On a terminal: colour, progress, harmless output, and Ctrl-C."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.support.waiting import until

from .conftest import Cli
from .fake_api import FakeApi

ANSI = re.compile(r"\x1b\[[0-9]*[mK]")


def test_names_are_aligned_and_coloured(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("a", "longer")
    fake.commands["hi"] = lambda name: [("stdout", b"x\n")]
    terminal = cli.terminal("exec", "hi", "--all")
    assert terminal.finish() == 0
    assert re.search(r"\x1b\[[0-9]+ma:\x1b\[0m      x\r\n", terminal.text)
    assert re.search(r"\x1b\[[0-9]+mlonger:\x1b\[0m x\r\n", terminal.text)


def test_no_color_is_respected(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("a")
    fake.commands["hi"] = lambda name: [("stdout", b"x\n")]
    cli.extra["NO_COLOR"] = "1"
    terminal = cli.terminal("exec", "hi", "--all")
    assert terminal.finish() == 0
    assert "a: x\r\n" in terminal.text and "m" not in re.findall(r"\x1b\[[0-9]*(.)", terminal.text)


def test_remote_control_characters_do_nothing(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("a")
    bites = b"\x1b]0;owned\x07\x1b[2J\x08\xc2\x9b31m\xff\ttab \xd0\xb6\r\n"
    fake.commands["bite"] = lambda name: [("stdout", bites), ("stderr", bites)]
    cli.extra["NO_COLOR"] = "1"
    terminal = cli.terminal("exec", "bite", "--all")
    assert terminal.finish() == 0
    safe = r"\x1b]0;owned\x07\x1b[2J\x08\x9b31m\xff" + "\ttab ж\r\n"
    assert terminal.text.count("a: " + safe) == 2
    assert "\x07" not in terminal.text and "\x1b]" not in terminal.text


def test_progress_moves_on_stderr_alone(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("a", "b")
    seen = threading.Event()

    def slow(name: str) -> Iterator[tuple[Any, ...]]:
        yield ("stdout", b"x\n")
        while name == "a" and not seen.is_set():
            yield ("sleep", 0.02)

    fake.commands["slow"] = slow
    read, write = os.pipe()
    terminal = cli.terminal("exec", "slow", "--all", stdout=write)
    os.close(write)
    terminal.read_until("1/2 done, 1 running, 0 failed")
    seen.set()
    assert terminal.finish() == 0
    assert sorted(os.read(read, 1000).splitlines()) == [b"a: x", b"b: x"]
    os.close(read)
    # At the end the line is gone and only the summary stands.
    assert ANSI.sub("", terminal.text.rpartition("\x1b[K")[2]).startswith("2 of 2 succeeded")


def test_ctrl_c_cancels_keeps_what_arrived_and_names_the_rest(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("web01", "web02", "web03")
    fake.commands["x"] = lambda name: (
        [("stdout", b"partial"), ("hang",)] if name != "web02" else [("stdout", b"whole\n")]
    )
    cli.extra["NO_COLOR"] = "1"
    terminal = cli.terminal("exec", "x", "--all")
    terminal.read_until("1/3 done")
    terminal.press(b"\x03")
    assert terminal.finish() == 130
    assert "Cancelling" in terminal.text
    for text in ("web01: partial\r\n", "web02: whole\r\n", "web03: partial\r\n", "1 of 3 succeeded"):
        assert text in terminal.text
    assert "web[01,03] (2): cancelled: Cancelled. [confirmed gone]" in terminal.text
    assert "Traceback" not in terminal.text


def test_ctrl_c_with_group_prints_what_arrived(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("a", "b")
    fake.commands["x"] = lambda name: [("stdout", b"same\n"), ("hang",)]
    process = cli.start("exec", "x", "--all", "-b")
    until(lambda: sum(message["type"] == "stdout" for message in fake.told) == 2)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"a,b (2) cancelled\n" in out and out.endswith(b"same\n")
    assert b"a,b (2): cancelled" in errors


def test_a_second_ctrl_c_leaves_at_once(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("web01", "web02")
    fake.commands["x"] = lambda name: [("stdout", b"y\n"), ("hang",)]
    fake.deaf_to_cancel = True
    terminal = cli.terminal("exec", "x", "--all")
    terminal.read_until("y\r\n")
    terminal.press(b"\x03")
    terminal.read_until("Cancelling")
    terminal.press(b"\x03")
    begun = time.monotonic()
    assert terminal.finish() == 130
    assert time.monotonic() - begun < 5
    assert "Not finished: web[01-02] (2). Job: testum jobs show" in terminal.text


def unread(process: subprocess.Popen[bytes]) -> int:
    """How many bytes wait in its output's pipe, which takes 64 KiB (pipe(7))."""
    assert process.stdout is not None
    answer = fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def test_ctrl_c_works_while_nobody_reads_the_pipe(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("h")
    fake.commands["many"] = lambda name: [("stdout", b"line\n" * 10_000)] * 30 + [("hang",)]
    process = cli.start("exec", "many", "--all")
    until(lambda: unread(process) > 60_000)
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    # Two signals that come at once are one.
    assert b"Cancelling" in os.read(process.stderr.fileno(), 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
