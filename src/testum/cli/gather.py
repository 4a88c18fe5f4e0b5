"""`--group`: the same output of many hosts, shown once under all their names."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from testum.cli.lines import Spool
from testum.cli.screen import Screen
from testum.core.folding import fold, natural_key


def _hashes() -> "dict[str, hashlib._Hash]":
    return {"stdout": hashlib.sha256(), "stderr": hashlib.sha256()}


@dataclass(slots=True)
class _Output:
    places: list[tuple[int, int]] = field(default_factory=list)
    hashes: "dict[str, hashlib._Hash]" = field(default_factory=_hashes)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task ended, for its group. `status` and `exit_code` as the API names them; `removed`: its output was
    kept for so long only."""

    name: str
    status: str
    exit_code: int | None
    removed: bool = False


class Gatherer:
    """Keeps every task's output on disk until the end, and knows which are the same."""

    def __init__(self) -> None:
        self._spool = Spool()
        self._outputs: dict[str, _Output] = {}

    def close(self) -> None:
        """Drop what was kept."""
        self._spool.close()

    def feed(self, task_id: str, stream: str, data: bytes) -> None:
        """Keep a piece of a task's output."""
        output = self._outputs.setdefault(task_id, _Output())
        output.hashes[stream].update(data)
        offset, length = self._spool.put(data)
        if output.places and sum(output.places[-1]) == offset:
            output.places[-1] = (output.places[-1][0], output.places[-1][1] + length)
        else:
            output.places.append((offset, length))

    def show(self, screen: Screen, ending_of: Callable[[str], Ending], task_ids: list[str]) -> None:
        """Print the groups, the largest first.

        A task that failed without a word is left to the summary, which says why, and one whose output is gone to
        whoever says that.
        """
        groups: dict[object, list[tuple[Ending, _Output]]] = {}
        for task_id in task_ids:
            ending, output = ending_of(task_id), self._outputs.get(task_id, _Output())
            if not output.places and (ending.status != "success" or ending.removed):
                continue
            hashes = tuple(output.hashes[stream].digest() for stream in ("stdout", "stderr"))
            key = (hashes, ending.status, ending.exit_code)
            groups.setdefault(key, []).append((ending, output))
        by_size = sorted(groups.values(), key=lambda group: (-len(group), natural_key(group[0][0].name)))
        for group in by_size:
            ending, output = group[0]
            screen.heading(_heading([member.name for member, _ in group], ending))
            screen.raw("stdout", self._text(output))
        screen.flush()

    def _text(self, output: _Output) -> Iterator[bytes]:
        last = b"\n"
        for place in output.places:
            for piece in self._spool.get(place):
                yield piece
                last = piece[-1:]
        if not output.places:
            yield b"(no output)\n"
        elif last != b"\n":
            yield b"\n"


def _heading(names: list[str], ending: Ending) -> str:
    text = fold(names) + (f" ({len(names)})" if len(names) > 1 else "")
    if ending.exit_code:
        return f"{text} exit {ending.exit_code}"
    return text if ending.status == "success" else f"{text} {ending.status}"
