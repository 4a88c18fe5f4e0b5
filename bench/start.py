"""What a start of the server costs, beside the import of the libraries it cannot do without:
`python -m bench.start [--rounds N] [--before PYTHON]`.

The processor time of `testum serve` until it says that it is ready, on data of this release and on none, as a ratio
to a Python that only imports the libraries; each round measures all of them, one after the other. `--before` names
the interpreter of another testum's virtual environment, to compare with.
"""

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

LIBRARIES = "import fastapi, sqlalchemy.ext.asyncio, asyncssh, uvicorn"
LIMIT = 1.5
"""A start may take so many times the processor time of importing the libraries."""


def libraries(python: str) -> float:
    """The processor time, in seconds, of importing the libraries and nothing else."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python, "-c", LIBRARIES], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start(python: str, folder: Path) -> float:
    """The processor time, in seconds, of `testum serve` until it is ready, with its data in the folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TESTUM_")}
    with subprocess.Popen(
        [python, "-m", "testum", "serve", "--port", "0"],
        env={**environment, "DATA_DIR": str(folder), "ADMIN_PASSWORD": "correct-horse-battery"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if line.startswith("testum is at"):
                break
        else:
            raise RuntimeError(f"the server did not start:\n{told}")
        used = psutil.Process(process.pid).cpu_times()
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    return used.user + used.system


def main() -> None:
    """Measure, print, and fail if a start costs too much."""
    parser = argparse.ArgumentParser(prog="bench.start")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--before", metavar="PYTHON", help="the interpreter of another testum")
    arguments = parser.parse_args()
    tried = {"testum serve": sys.executable}
    if arguments.before:
        tried["before: testum serve"] = arguments.before
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="testum-bench-") as folder:
        kept = {name: Path(folder, str(number)) for number, name in enumerate(tried)}
        for name, python in tried.items():
            # The first one compiles what nobody has imported before, and makes the data for the others.
            kept[name].mkdir()
            start(python, kept[name])
        for number in range(arguments.rounds):
            figures.setdefault("the libraries", []).append(libraries(sys.executable))
            for name, python in tried.items():
                figures.setdefault(name, []).append(start(python, kept[name]))
                empty = Path(folder, f"{name}-{number}")
                empty.mkdir()
                figures.setdefault(f"{name}, first start", []).append(start(python, empty))
    base = statistics.median(figures["the libraries"])
    for name, seconds in figures.items():
        middle = statistics.median(seconds)
        print(f"{name:<36}{middle:>7.2f} s of processor time, {middle / base:.2f} times the libraries")
    if statistics.median(figures["testum serve"]) > LIMIT * base:
        sys.exit(f"a start is to cost at most {LIMIT} times the libraries")


if __name__ == "__main__":
    main()
