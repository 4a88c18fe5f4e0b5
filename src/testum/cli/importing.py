"""What an import's list needs of this machine: the files that it includes, and the keys that it names."""

import glob
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path
from typing import Any

from testum.cli.failures import WrongUse
from testum.cli.keyfiles import DEFAULT_KEYS, read_key, unlock
from testum.cli.lines import harmless_name
from testum.core.inventory import Draft, Inventory, Problem
from testum.core.lists import FORMATS, decode_list, read_list


def read_inventory(file: str, format: str | None) -> tuple[Inventory, Path]:
    """What a file holds, and the directory that its relative paths are relative to. Raises WrongUse."""
    if format is not None and format not in FORMATS:
        raise WrongUse(f"--format is one of {', '.join(FORMATS)}.")
    path = Path(file).expanduser()
    try:
        data = sys.stdin.buffer.read() if file == "-" else path.read_bytes()
        text, encoding = decode_list(data)
    except OSError as error:
        raise WrongUse(f"{file}: {error.strerror}") from None
    except ValueError:
        raise WrongUse(f"{file}: is not text.") from None
    directory = Path.cwd() if file == "-" else path.parent
    # Whatever the file's place, OpenSSH looks for what is included under ~/.ssh.
    found = read_list(text, format or "", filename=file, include=_Includes(), local_user=getuser())
    if encoding:
        found.notes.append(Problem(0, f"the file is read as {encoding}"))
    return found, directory


class _Includes:
    """Reads the files of Include directives. Several blocks may include the same one."""

    def __call__(self, pattern: str) -> Sequence[tuple[str, str]]:
        # pathlib has neither: an unknown user stays as it is written, a star stands for no hidden file and for no folders.
        place = os.path.join(glob.escape(str(Path.home() / ".ssh")), os.path.expanduser(pattern))  # noqa: PTH111, PTH118
        return list(self._read(glob.glob(place)))  # noqa: PTH207

    @staticmethod
    def _read(names: Sequence[str]) -> Iterator[tuple[str, str]]:
        # In the order of their bytes, as by glob(3).
        for path in map(Path, sorted(names, key=os.fsencode)):
            if not path.is_file():
                continue
            try:
                yield str(path), path.read_text("utf-8", errors="replace")
            except OSError:
                # As OpenSSH does with files that it may not read.
                continue


KEPT_BACK = "kept back"
"""Goes in the place of a password where nothing is done yet."""


@dataclass(slots=True)
class Rows:
    """The hosts of a list as the API takes them, and the private keys that they log in with."""

    directory: Path
    by_default: bool
    """Whether those of which nothing is said log in with the person's own key."""
    dry_run: bool
    """Whether nothing is done yet: then no secret leaves this machine."""
    hosts: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    default_key: Path | None = None
    """The person's own key, where some need it."""

    def add(self, draft: Draft, *, known: bool) -> None:
        """Take a host. `known`: it is there already, and nobody needs to log in to say so."""
        row: dict[str, Any] = {
            "name": draft.name, "host": draft.host, "port": draft.port, "username": draft.username,
            "auth_method": draft.auth_method, "password": draft.password, "tags": list(draft.tags),
            "description": draft.description, "jumps": list(draft.jumps), "hop": draft.hop, "line": draft.line,
        }  # fmt: skip
        try:
            if draft.private_key:
                passphrase = unlock(draft.private_key, f"the key of {draft.name}", draft.passphrase)
                row["key"] = self._keep(f"of {draft.name}", draft.private_key, passphrase)
            elif not known and (path := self._path_of(draft)):
                row["key"] = self._key(path, draft.passphrase)
        except WrongUse as failure:
            row["problem"] = failure.message
        if self.dry_run and row["password"]:
            row["password"] = KEPT_BACK
        self.hosts.append({name: value for name, value in row.items() if value not in ("", [])})

    def _path_of(self, draft: Draft) -> Path | None:
        """The key file that the host is logged in to with, if any. Raises WrongUse where none of those named is there."""
        paths = [self._path(text) for text in draft.key_files]
        if paths:
            found = next((path for path in paths if path.exists()), None)
            if found is None:
                raise WrongUse(f"its key file {paths[0]} does not exist")
            return found
        if not self.by_default or draft.password or draft.auth_method == "password":
            return None
        own = (Path.home() / ".ssh" / name for name in DEFAULT_KEYS)
        self.default_key = self.default_key or next((path for path in own if path.is_file()), None)
        return self.default_key

    def _path(self, text: str) -> Path:
        text = text.replace("%d", str(Path.home())).replace("%u", getuser())
        return self.directory / Path(text).expanduser()

    def _key(self, path: Path, passphrase: str) -> str:
        """The name of a key; its passphrase is asked for once, and not for each host."""
        name = str(path)
        if name not in self.keys:
            text = read_key(path)
            self._keep(name, text, unlock(text, name, passphrase))
        return name

    def _keep(self, name: str, text: str, passphrase: str) -> str:
        self.keys[name] = {} if self.dry_run else {"private_key": text, "passphrase": passphrase}
        return name


def tell(plan: dict[str, Any], *, update: bool, say: Callable[[str], None]) -> None:
    """What an import does, or would do, a line for each host."""
    for note in plan["notes"]:
        say(f"note: {_place(note)}{harmless_name(note['message'])}")
    for problem in plan["problems"]:
        name = f"{problem['name']}: " if problem["name"] else ""
        say(f"! {_place(problem)}{harmless_name(name + problem['message'])}")
    for step in plan["steps"]:
        say(harmless_name(_LINES[step["kind"]](step, update)))
    verb = "would be {}" if plan["dry_run"] else "{}"
    wrong = plan["problem"] + len(plan["problems"])
    changed = f", {plan['change']} {verb.format('changed')}" if update else ""
    there = plan["same"] + (0 if update else plan["change"])
    say(f"{plan['add']} {verb.format('added')}{changed}, {there} already there, {wrong} with problems.")


def _added(step: dict[str, Any], update: bool) -> str:
    via = f" via {step['via']}" if step["via"] else ""
    return f"+ {step['name']} {step['address']}{via}"


def _changed(step: dict[str, Any], update: bool) -> str:
    changes = ", ".join(
        f"{each['field']} {each['old'] or '-'} -> {each['new'] or '-'}" for each in step["changes"]
    )
    if update:
        return f"~ {step['name']}: {changes}"
    return f"= {step['name']} is already there, and differs: {changes} (--update changes it)"


_LINES: dict[str, Callable[[dict[str, Any], bool], str]] = {
    "add": _added,
    "change": _changed,
    "same": lambda step, update: f"= {step['name']} is already there",
    "problem": lambda step, update: (
        f"! line {step['line']}: {step['name']}: {'; '.join(step['message'].splitlines())}"
    ),
}


def _place(problem: dict[str, Any]) -> str:
    """Where it stands, if it stands in the list."""
    if not problem["line"]:
        return ""
    return f"{problem['file']} line {problem['line']}: " if problem["file"] else f"line {problem['line']}: "
