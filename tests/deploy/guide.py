"""What the guide tells its readers to type or to write into a file, for tests that do just that."""

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guide"


def code(page: str, language: str, containing: str = "") -> str:
    """The page's code block in this language that has this text; the only one."""
    text = (GUIDE / page).read_text()
    blocks = re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found = [block for block in blocks if containing in block]
    assert len(found) == 1, f"{page} has {len(found)} blocks of {language} with {containing!r}"
    block: str = found[0]
    return block
