"""What the API's page says is what there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEVER_ANSWERED = {"configuration", "not_moved", "ssh"}
"""Of the command line alone; the last is what all errors of SSH have in common."""


def test_every_error_code_is_explained() -> None:
    page = (ROOT / "docs" / "guide" / "api.md").read_text()
    said = re.compile(
        r"\b(?:error_)?code(?:: str)? ?= ?\"([a-z_]+)\"|_refuse\(\d+, \"[^\"]*\", \"([a-z_]+)\""
    )
    found = {
        first or second
        for path in (ROOT / "src" / "testum").rglob("*.py")
        for first, second in said.findall(path.read_text())
    }
    assert len(found) > 50, "they are found"
    assert {code for code in found - NEVER_ANSWERED if f"`{code}`" not in page} == set()
