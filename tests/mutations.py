"""Whether the tests see a fault: `python -m tests.mutations [--seed N] [--rooms ROOM ...] [--mode servers]`.

Changes one thing in a copy of src (a comparison, a condition, a number, what is returned, a statement left out), runs
the tests nearest to it, then all others of the lane, and says which test failed first. At most two in a module, chosen
by the seed. A change that no test sees is printed as SURVIVED: read it, it may be no fault at all.
"""

import argparse
import ast
import copy
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "testum"
NEAREST = {
    "artifacts": ["tests/artifacts"],
    "cli": ["tests/cli", "tests/faults/test_client.py", "tests/faults/test_start.py"],
    "core": ["tests/core"],
    "db": ["tests/db", "tests/web/test_history.py", "tests/web/test_platforms.py"],
    "demo": ["tests/demo"],
    "dispatch": ["tests/dispatch"],
    "events": ["tests/events"],
    "execution": ["tests/execution", "tests/faults/test_errors.py", "tests/faults/test_ending.py"],
    "output": ["tests/output", "tests/streams"],
    "services": ["tests/services", "tests/web"],
    "ssh": ["tests/ssh"],
    "web": ["tests/web"],
    "migrate_from": ["tests/migrate_from"],
    "worker": ["tests/faults"],
}
"""The tests that are asked first about a room's fault."""
_OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_SECONDS = 900


@dataclass(frozen=True)
class Mutation:
    """One change: the module, its line, what it was and became, and the module's text with it."""

    path: Path
    line: int
    was: str
    became: str
    text: str


def sites(tree: ast.Module) -> Iterator[ast.AST]:
    """The places within functions where something can be changed."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                for node in ast.walk(statement):
                    if changed(node) is not None:
                        yield node


def changed(node: ast.AST) -> ast.AST | None:
    """The node with a fault in it; None where this kind is left alone."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _OPPOSITES:
            made = copy.deepcopy(node)
            made.ops = [_OPPOSITES[type(operator)]()]
            return made
        case ast.BoolOp():
            made = copy.deepcopy(node)
            made.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            return made
        case ast.UnaryOp(op=ast.Not()):
            return node.operand
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            return ast.copy_location(ast.Return(ast.Constant(None)), node)
        case ast.Expr(value=ast.Await() | ast.Call()) if "log." not in ast.unparse(node):
            return ast.copy_location(ast.Pass(), node)
        case ast.Constant(value=bool(value)):
            return ast.copy_location(ast.Constant(not value), node)
    return None


def mutate(path: Path, chance: random.Random, most: int) -> list[Mutation]:
    """Some changes of a module, each at another line."""
    text = path.read_text()
    tree = ast.parse(text)
    found = list(sites(tree))
    chosen: dict[int, Mutation] = {}
    for node in chance.sample(found, len(found)):
        line = node.lineno  # type: ignore[attr-defined]
        if line in chosen:
            continue
        new = changed(node)
        assert new is not None
        lines = text.encode().splitlines(keepends=True)
        first, last = node.lineno - 1, node.end_lineno - 1  # type: ignore[attr-defined]
        before = lines[first][: node.col_offset]  # type: ignore[attr-defined]
        after = lines[last][node.end_col_offset :]  # type: ignore[attr-defined]
        became = ast.unparse(new)
        wrapped = f"({became})" if isinstance(new, ast.expr) else became
        joined = b"".join([*lines[:first], before, wrapped.encode(), after, *lines[last + 1 :]]).decode()
        chosen[line] = Mutation(path, line, ast.unparse(node)[:70], became[:70], joined)
        if len(chosen) == most:
            break
    return list(chosen.values())


def ask(folder: Path, paths: Sequence[str], options: Sequence[str]) -> str | None:
    """Run the tests on the sources in the folder: the first test that fails, or None. A test that hangs fails."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "2", "--dist", "worksteal", "--no-header"]
    try:
        done = subprocess.run(
            [*command, "-m", "not slow and not alone", *options, *paths],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "(the run took too long)"
    if done.returncode in (0, 5):
        return None
    told = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return told.group(1) if told else f"(pytest ended with {done.returncode})"


def main() -> None:
    """Make the changes and print what the tests say of each."""
    parser = argparse.ArgumentParser(prog="tests.mutations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rooms", nargs="*", default=list(NEAREST))
    parser.add_argument("--most", type=int, default=4, help="changes in a room")
    parser.add_argument("--mode", choices=["embedded", "servers"], default="embedded")
    parser.add_argument("--only-nearest", action="store_true", help="do not ask the rest of the tests")
    arguments = parser.parse_args()
    options = ["--mode", arguments.mode]
    caught = made = 0
    for room in arguments.rooms:
        chance = random.Random(f"{arguments.seed} {room}")
        room_path = SOURCES / room
        modules = sorted(room_path.rglob("*.py")) if room_path.is_dir() else [SOURCES / f"{room}.py"]
        pool = [mutation for path in modules for mutation in mutate(path, chance, 2)]
        for mutation in chance.sample(pool, min(arguments.most, len(pool))):
            with tempfile.TemporaryDirectory(prefix="testum-mutation-") as folder:
                shutil.copytree(ROOT / "src", folder, dirs_exist_ok=True)
                Path(folder, mutation.path.relative_to(ROOT / "src")).write_text(mutation.text)
                by = ask(Path(folder), NEAREST[room], options)
                if by is None and not arguments.only_nearest:
                    by = ask(Path(folder), ["--ignore", "tests/pages", "tests"], options)
            made += 1
            caught += by is not None
            where = f"{mutation.path.relative_to(SOURCES)}:{mutation.line}"
            print(f"{where}: `{mutation.was}` -> `{mutation.became}`: {by or 'SURVIVED'}", flush=True)
    print(f"{caught} of {made} were caught")


if __name__ == "__main__":
    main()
