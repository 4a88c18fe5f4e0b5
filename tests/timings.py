"""Where the seconds of `make test` go: `python -m tests.timings FOLDER`.

Each run of pytest with `--timings FOLDER` leaves a file there; printed are the runs, the ten slowest tests and the time
since the folder was made, which is that of the first check.
"""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

_SLOWEST = 10
BEGAN = "began"
"""A file in the folder, as old as the first check."""


def store(folder: Path, name: str, seconds: float, reports: list[Any]) -> None:
    """Keep one run's time and that of each test with all that was set up for it. `reports` are pytest's."""
    tests: dict[str, float] = defaultdict(float)
    for report in reports:
        tests[report.nodeid] += report.duration
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"name": name, "seconds": seconds, "tests": tests}
    (folder / f"{time.time_ns()}.json").write_text(json.dumps(kept))


def show(folder: Path) -> None:
    """Print all that was kept."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    for run in runs:
        print(f"{run['seconds']:7.0f} s  {len(run['tests']):5} tests  {run['name']}")
    slowest = sorted(
        ((seconds, test) for run in runs for test, seconds in run["tests"].items()), reverse=True
    )
    print("The slowest:")
    for seconds, test in slowest[:_SLOWEST]:
        print(f"{seconds:7.1f} s  {test}")
    print(f"All checks took {time.time() - (folder / BEGAN).stat().st_mtime:.0f} s.")


if __name__ == "__main__":
    show(Path(sys.argv[1]))
