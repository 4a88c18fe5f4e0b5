"""The diagrams of states in docs/states.md, drawn from the tables in core/states.py: `python -m tools.states` writes them."""

import re
from pathlib import Path

from testum.core.states import FINAL, TRANSITIONS

PAGE = Path(__file__).parents[1] / "docs" / "states.md"
_DIAGRAM = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.S)


def task_diagram() -> str:
    """The states of a task and what may follow each, as a state diagram of Mermaid."""
    lines = ["stateDiagram-v2", "    [*] --> pending"]
    for state, following in TRANSITIONS.items():
        lines += [f"    {state} --> {after}" for after in sorted(following)]
    lines += [f"    {state} --> [*]" for state in sorted(FINAL)]
    return "\n".join(lines) + "\n"


def drawn(page: str) -> str:
    """The page with the diagram as it is to be."""
    return _DIAGRAM.sub(task_diagram(), page, count=1)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
