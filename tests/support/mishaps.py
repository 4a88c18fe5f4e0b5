"""Exceptions at random lines of chosen modules, and cancellations at random moments: whatever is taken must be given back."""

import ast
import asyncio
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any


class Mishap(Exception):
    """What nobody expects."""


class Mishaps:
    """Raises a Mishap before a line, one in `chance_in`, of the modules; but not where something is given back: in
    `except` and `finally`, at the end of a `with`, and in the functions named `closing` and what they call."""

    def __init__(
        self, seed: int, *modules: ModuleType, closing: frozenset[str] = frozenset(), chance_in: int
    ) -> None:
        self._random = random.Random(seed)
        self._sources = {str(module.__file__): _Source(str(module.__file__), closing) for module in modules}
        self._chance_in = chance_in
        self._happening = False
        self._before: Any = None
        self.raised = 0

    @contextmanager
    def happening(self) -> Iterator[None]:
        """Within the block, in this thread."""
        self.switch(happening=True)
        try:
            yield
        finally:
            self.switch(happening=False)

    def switch(self, *, happening: bool) -> None:
        """Begin, or cease, in this thread."""
        self._happening = happening
        if happening:
            self._before = sys.gettrace()
            self._arm()
        else:
            sys.settrace(self._before)

    def cancel_one(self, tasks: list["asyncio.Task[Any]"]) -> None:
        """Cancel one of the tasks."""
        self._random.choice(tasks).cancel()

    def _arm(self) -> None:
        if self._happening:
            sys.settrace(self._on_call)

    def _on_call(self, called: FrameType, event: str, argument: object) -> Any:
        source = self._sources.get(called.f_code.co_filename)
        if source is None:
            return None
        last = called.f_lineno
        first = True

        def on_line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last, first
            if event == "line":
                before, last = last, frame.f_lineno
                # A frame that is called again within an `await`: what it waits for goes on first.
                resumed, first = first and before == last, False
                if self._random.randrange(self._chance_in) == 0 and not (
                    resumed or source.ends_block(before, last) or self._is_spared(frame)
                ):
                    self._raise(frame)
            return on_line

        return on_line

    def _raise(self, frame: FrameType) -> None:
        self.raised += 1
        # A trace function that raises is not called again.
        asyncio.get_running_loop().call_soon(self._arm)
        raise Mishap(f"{frame.f_code.co_name}, line {frame.f_lineno}")

    def _is_spared(self, frame: FrameType | None) -> bool:
        """Whether the line, or one that called it, gives something back."""
        while frame is not None:
            source = self._sources.get(frame.f_code.co_filename)
            if source is not None and frame.f_lineno in source.giving_back:
                return True
            frame = frame.f_back
        return False


class _Source:
    """What a module's lines do."""

    def __init__(self, file: str, closing: frozenset[str]) -> None:
        self.giving_back: set[int] = set()
        self._blocks: dict[int, range] = {}
        for node in ast.walk(ast.parse(Path(file).read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in closing:
                self.giving_back.update(_lines(node))
            elif isinstance(node, ast.Try):
                # No handler covers the word itself.
                self.giving_back.add(node.lineno)
                for statement in [*node.finalbody, *(inner for one in node.handlers for inner in one.body)]:
                    self.giving_back.update(_lines(statement))
            elif isinstance(node, ast.With | ast.AsyncWith):
                self._blocks[node.lineno] = range(node.body[0].lineno, _lines(node).stop)

    def ends_block(self, before: int, line: int) -> bool:
        """Whether the step from one line to another is the end of a `with`, whose line Python comes to once more then,
        before it leaves the block. No program can bear an exception there."""
        return line in self._blocks and before in self._blocks[line]


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)
