"""Known vulnerabilities in the packages of the locks: `python -m tools.audit`, a step of `make lint`.

It fails where one is found. Where the data about vulnerabilities cannot be reached, it says so in one line and passes.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hatch_build

_ROOT = Path(__file__).parent.parent
_KNOWN = "jinja2==2.10"
"""Vulnerable for ever (CVE-2019-10906): whoever does not say so does not have the data."""
_SECONDS_TO_ANSWER = 3
_SECONDS_TO_PROBE = 10
_SECONDS_TO_AUDIT = 300


class NotRun(Exception):
    """The data cannot be reached; the message says why."""


class Broken(Exception):
    """The audit itself failed; the message says how."""


def main() -> int:
    """0 where nothing was found, or nothing could be asked."""
    failed = False
    for name, audit in (("Python packages", python_packages), ("npm packages", npm_packages)):
        try:
            found = sorted(set(audit()))
        except NotRun as reason:
            print(f"NOT RUN, the audit of the {name}: {reason}")
        except Broken as reason:
            print(f"The audit of the {name} failed: {reason}", file=sys.stderr)
            failed = True
        else:
            print(f"The audit of the {name}: {len(found)} known vulnerabilities", *found, sep="\n  ")
            failed = failed or bool(found)
    return int(failed)


def python_packages() -> Iterator[str]:
    """What pip-audit finds in the requirement locks. Raises NotRun, Broken."""
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "known.txt"
        known.write_text(_KNOWN)
        # A cache of its own: an old answer says nothing about now.
        probe = f"--no-deps --timeout {_SECONDS_TO_ANSWER} --cache-dir {folder} --requirement {known}"
        try:
            answer = _pip_audit(probe.split(), seconds=_SECONDS_TO_PROBE)
        except Broken as error:
            raise NotRun(f"the service does not answer ({error})") from None
    if not any(package.get("vulns") for package in answer["dependencies"]):
        raise NotRun(f"the service does not know that {_KNOWN} is vulnerable")

    locks = [option for lock in sorted(_ROOT.glob("*.lock")) for option in ("--requirement", str(lock))]
    skipped = []
    for package in _pip_audit(["--require-hashes", *locks], seconds=_SECONDS_TO_AUDIT)["dependencies"]:
        if "skip_reason" in package:
            skipped.append(package["name"])
        for vulnerability in package.get("vulns", ()):
            fixed = ", ".join(vulnerability["fix_versions"]) or "no release yet"
            yield f"{package['name']} {package['version']}: {vulnerability['id']} (fixed in {fixed})"
    if skipped:
        raise Broken(f"the service knows nothing about {', '.join(skipped)}")


def _pip_audit(options: list[str], *, seconds: int) -> Any:
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--progress-spinner", "off"]
    return _json([*command, "--format", "json", *options], _ROOT, seconds)


def npm_packages() -> Iterator[str]:
    """What npm finds in frontend/package-lock.json. Raises NotRun, Broken."""
    options = f"audit --json --package-lock-only --fetch-retries 0 --fetch-timeout {_SECONDS_TO_PROBE}000"
    answer = _json([*hatch_build.npm(), *options.split()], hatch_build.FRONTEND, _SECONDS_TO_AUDIT)
    if "auditReportVersion" in answer:
        for name, package in answer["vulnerabilities"].items():
            causes = [cause if isinstance(cause, str) else cause["url"] for cause in package["via"]]
            yield f"{name} {package['range']}: {package['severity']}, by {', '.join(causes)}"
    elif "message" in answer:  # only where the request failed; npm's own errors have none
        reason = f"status {answer['statusCode']}" if "statusCode" in answer else "no connection"
        raise NotRun(f"the registry does not answer it ({reason})")
    else:
        raise Broken(answer.get("error", {}).get("summary", answer))


def _json(command: list[str], folder: Path, seconds: int) -> Any:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise Broken(f"no answer within {seconds} s") from None
    try:
        return json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.strip().splitlines() or ["it printed nothing"]
        raise Broken(f"exit {done.returncode}: {lines[-1]:.100}") from None


if __name__ == "__main__":
    sys.exit(main())
