"""Lists of every form and of hostile shapes: what is read takes its time once, and what multiplies is bounded."""

import json
import operator
import signal
import statistics
import subprocess
import sys
import time

import pytest

from tests.core.hostile_lists import LISTS
from testum.core.lists import read_list

_MEASURABLE_SECONDS = 0.03
_ROUNDS = 12
_EACH_TIME = {
    "ssh-config, one Host line",
    "ssh-config, names and patterns",
    "ssh-config, blocks",
    "ssh-config, blocks for others",
    "ssh-config, runs of many",
    "ssh-config, values",
    "ssh-config, names from names",
    "ssh-config, arguments for all",
    "ansible, variables of hosts",
    "ansible, diamonds",
    "ansible, long values in quotes",
    "ansible, long values for all",
    "yaml, merges",
    "yaml, brackets",
    "yaml, variables by aliases",
    "yaml, one host by aliases",
    "yaml, hosts by aliases",
}
"""The dearest of each kind; the others in `make test-all`."""


def seconds(kind: str, text: str) -> float:
    """Of the processor."""
    begun = time.process_time()
    read_list(text, kind)
    return time.process_time() - begun


@pytest.mark.alone
@pytest.mark.parametrize(
    "name", [name if name in _EACH_TIME else pytest.param(name, marks=pytest.mark.slow) for name in LISTS]
)
def test_no_list_takes_long_and_twice_the_list_takes_twice_the_time(name: str) -> None:
    kind, shape, most = LISTS[name]
    whole = shape(most)
    assert 0.8 * most < len(whole) <= most + 100
    # What else the machine does only adds.
    assert any(seconds(kind, whole) < 3 for _ in range(3))
    size = most // 256
    # Where little is measured, noise is; and the dearest list may be the longest that is not refused.
    while (took := seconds(kind, shape(size))) < _MEASURABLE_SECONDS and size < most // 2:
        size *= 2
    assert took < 3
    once, twice = shape(size), shape(2 * size)
    of_once: list[float] = []
    of_twice: list[float] = []
    # Of the machine's noise one part only adds, the other makes all of it quicker for a while.
    for _ in range(_ROUNDS):
        of_once.append(max(seconds(kind, once), _MEASURABLE_SECONDS / 2.2))
        of_twice.append(seconds(kind, twice))
        pairs = statistics.median(map(operator.truediv, of_twice, of_once))
        ratio = min(pairs, min(of_twice) / min(of_once))
        if ratio <= 2.2:
            break
    assert ratio <= 2.2, (size, of_once, of_twice)


def test_the_kernel_ends_a_reading_that_takes_too_long() -> None:
    """For a list of a shape that nobody has thought of."""
    program = (
        "import itertools, testum.core.lists as lists; lists._MOST_SECONDS = 1;"
        "lists.read_list = lambda text, kind: sum(itertools.repeat(1)); lists._answer()"
    )
    asked = json.dumps({"text": "a", "kind": "csv", "most": 1})
    done = subprocess.run([sys.executable, "-c", program], input=asked, text=True, timeout=60, check=False)
    assert done.returncode in (-signal.SIGKILL, -signal.SIGXCPU)


@pytest.mark.parametrize("name", ["ssh-config, names from names", "ssh-config, ways for all", "yaml, groups"])
def test_a_list_takes_little_memory(name: str) -> None:
    """In the process that reads it for the server, and in its answer."""
    kind, shape, most = LISTS[name]
    asked = json.dumps({"text": shape(most), "kind": kind, "most": 10_001})
    # Its own account of its memory: that of wait4() begins with what the process had that started it.
    program = (
        "import re, runpy, sys; runpy.run_module('testum.core.lists', run_name='__main__');"
        "print(re.search('VmHWM:\\\\s+(\\\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], input=asked, capture_output=True, text=True, check=True
    )
    assert len(done.stdout) < 40_000_000
    assert int(done.stderr) < 400_000, f"{done.stderr} kB"
