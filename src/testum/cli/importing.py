"""Adding what an inventory file describes: credentials from the files it names, jump hosts first."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from getpass import getuser
from pathlib import Path
from typing import Any

from testum.cli.api import Api
from testum.cli.failures import Refused, WrongUse
from testum.cli.keyfiles import DEFAULT_KEYS, read_key, unlock
from testum.cli.lines import harmless_name
from testum.cli.platforms import address_of, split_address
from testum.core.ansible import parse_ansible
from testum.core.inventory import Draft, Inventory, Problem, parse_csv, sniff
from testum.core.ssh_hosts import parse_ssh_config

FORMATS = ("csv", "ssh-config", "ansible")


def read_inventory(file: str, format: str | None) -> tuple[Inventory, Path]:
    """What a file holds, and the directory that its relative paths are relative to. Raises WrongUse."""
    if format is not None and format not in FORMATS:
        raise WrongUse(f"--format is one of {', '.join(FORMATS)}.")
    path = Path(file).expanduser()
    try:
        data = sys.stdin.buffer.read() if file == "-" else path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise WrongUse(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongUse(f"{file}: not text in UTF-8.") from None
    directory = Path.cwd() if file == "-" else path.parent
    format = format or sniff(text, file)
    if format == "csv":
        return parse_csv(text), directory
    if format == "ansible":
        return parse_ansible(text), directory
    # Whatever the file's place, OpenSSH looks for what is included under ~/.ssh.
    return parse_ssh_config(text, _Includes(), getuser()), directory


class _Includes:
    """Reads the files of Include directives. Several blocks may include the same one."""

    def __call__(self, pattern: str) -> Sequence[tuple[str, str]]:
        path = Path(pattern).expanduser()
        base, rest = (Path("/"), str(path)[1:]) if path.is_absolute() else (Path.home() / ".ssh", str(path))
        return list(self._read(base, rest))

    def _read(self, base: Path, pattern: str) -> Iterator[tuple[str, str]]:
        for path in sorted(base.glob(pattern)) if pattern else ():
            if not path.is_file():
                continue
            try:
                yield str(path), path.read_text("utf-8", errors="replace")
            except OSError:
                # As OpenSSH does with files that it may not read.
                continue


@dataclass(slots=True)
class Credentials:
    """How to log in where the file does not say; `username`, `key_id`, `password` may be empty."""

    directory: Path
    username: str
    key_id: str
    password: str = field(repr=False)
    _keys: dict[Path, tuple[str, str]] = field(default_factory=dict, repr=False)

    def of(self, draft: Draft) -> dict[str, str]:
        """The fields of a new platform that say who logs in and how. Raises WrongUse."""
        login = {"username": draft.username or self.username or getuser()}
        method = draft.auth_method or ("password" if draft.password else "")
        if method == "password":
            password = draft.password or self.password
            if not password:
                raise WrongUse("its password is missing; give --ask-password")
            return login | {"auth_method": "password", "password": password}
        if method == "key_and_password":
            password = draft.password or self.password
            if not password:
                raise WrongUse("its password is missing; give --ask-password")
            with_key = self._by_key(draft, login)
            if with_key is None:
                raise WrongUse("its key is missing; give --key")
            return with_key | {"auth_method": method, "password": password}
        if not draft.private_key and not draft.key_files and not self.key_id and self.password and not method:
            return login | {"auth_method": "password", "password": self.password}
        with_key = self._by_key(draft, login)
        if with_key is None:
            raise WrongUse("it has neither a password nor a key; give --key or --ask-password")
        return with_key

    def _by_key(self, draft: Draft, login: dict[str, str]) -> dict[str, str] | None:
        """The fields of a login by key; None where there is none."""
        if draft.private_key:
            passphrase = unlock(draft.private_key, f"the key of {draft.name}", draft.passphrase)
            return login | _with_key(draft.private_key, passphrase)
        if draft.key_files:
            return login | _with_key(*self._from_files(draft))
        if self.key_id:
            return login | {"auth_method": "private_key", "key_id": self.key_id}
        for name in DEFAULT_KEYS:
            if (path := Path.home() / ".ssh" / name).is_file():
                return login | _with_key(*self._key(path, draft.passphrase))
        return None

    def _from_files(self, draft: Draft) -> tuple[str, str]:
        """The first of the draft's key files that exists, with its passphrase."""
        paths = [self._path(text) for text in draft.key_files]
        for path in paths:
            if path.exists():
                return self._key(path, draft.passphrase)
        raise WrongUse(f"its key file {paths[0]} does not exist")

    def _path(self, text: str) -> Path:
        text = text.replace("%d", str(Path.home())).replace("%u", getuser())
        return self.directory / Path(text).expanduser()

    def _key(self, path: Path, passphrase: str) -> tuple[str, str]:
        # A passphrase is asked for once for each file, not for each host.
        if path not in self._keys:
            text = read_key(path)
            self._keys[path] = text, unlock(text, str(path), passphrase)
        return self._keys[path]


class Importer:
    """Adds drafts one by one and tells `say` of each; `problems` are those that were not added."""

    def __init__(
        self, api: Api, credentials: Credentials, *, dry_run: bool, say: Callable[[str], None]
    ) -> None:
        self.added: list[dict[str, Any]] = []
        self.existing: list[str] = []
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self._api = api
        self._credentials = credentials
        self._dry_run = dry_run
        self._say = say
        self._known: dict[str, dict[str, Any]] = {}
        self._drafts: dict[str, Draft] = {}
        self._tried: set[str] = set()

    def run(self, inventory: Inventory) -> None:
        """Add what the inventory holds. Raises what the API's calls raise, but not for a refused platform."""
        self.notes = inventory.notes
        self._known = {item["name"]: item for item in self._api.pages("/platforms/")}
        self._drafts = {draft.name: draft for draft in inventory.drafts}
        for note in inventory.notes:
            self._say(f"note: {_place(note)}: {harmless_name(note.message)}")
        for problem in inventory.problems:
            self._refuse(problem)
        for draft in inventory.drafts:
            self._add(draft)
        verb = "would be added" if self._dry_run else "added"
        self._say(
            f"{len(self.added)} {verb}, {len(self.existing)} already there, {len(self.problems)} with problems."
        )

    def report(self) -> dict[str, Any]:
        """The same as data. `added` is what the API answered, or would be asked, without secrets."""
        return {
            "dry_run": self._dry_run,
            "added": self.added,
            "existing": self.existing,
            "problems": [asdict(problem) for problem in self.problems],
            "notes": [asdict(note) for note in self.notes],
        }

    def _add(self, draft: Draft) -> None:
        if draft.name in self._tried:
            return
        self._tried.add(draft.name)
        if draft.name in self._known:
            self.existing.append(draft.name)
            self._say(f"= {harmless_name(draft.name)} is already there")
            return
        body: dict[str, Any] = {
            "name": draft.name, "host": draft.host, "port": draft.port,
            "tags": list(draft.tags), "description": draft.description,
        }  # fmt: skip
        try:
            body |= self._credentials.of(draft)
            if draft.jumps:
                body["jump_platform_id"] = self._jump(draft)["id"]
            platform = _without_secrets(body) if self._dry_run else self._api.post("/platforms/", body)
        except WrongUse as failure:
            self._refuse(Problem(draft.line, failure.message, draft.name))
        except Refused as refusal:
            # These say that no platform may be added at all.
            if refusal.http_status in (401, 403):
                raise
            self._refuse(Problem(draft.line, refusal.message, draft.name))
        else:
            self._known[draft.name] = platform | {"id": platform.get("id")}
            self.added.append(platform)
            via = f" via {self._jump(draft)['name']}" if draft.jumps else ""
            self._say(harmless_name(f"+ {draft.name} {address_of(body)}{via}"))

    def _jump(self, draft: Draft) -> dict[str, Any]:
        """The platform that the draft is reached through, added first if need be. Raises WrongUse."""
        before: dict[str, Any] | None = None
        for hop in draft.jumps:
            platform = self._hop(hop)
            if before is not None and platform.get("jump_platform_id") != before.get("id"):
                raise WrongUse(
                    f"its way is {','.join(draft.jumps)}, but {hop} is not reached through {before['name']}"
                )
            before = platform
        assert before is not None
        return before

    def _hop(self, hop: str) -> dict[str, Any]:
        if hop in self._drafts:
            self._add(self._drafts[hop])
        if hop in self._known:
            return self._known[hop]
        user, host, port = split_address(hop)
        for draft in self._drafts.values():
            if host in (draft.name, draft.host):
                self._add(draft)
        for item in self._known.values():
            wanted = (user or item["username"], port or item["port"])
            if host in (item["name"], item["host"]) and wanted == (item["username"], item["port"]):
                return item
        raise WrongUse(f"its jump host {hop} is not a platform, or could not be added")

    def _refuse(self, problem: Problem) -> None:
        self.problems.append(problem)
        name = f"{problem.name}: " if problem.name else ""
        self._say(f"! {_place(problem)}: {harmless_name(name + problem.message)}")


def _with_key(text: str, passphrase: str) -> dict[str, str]:
    return {"auth_method": "private_key", "private_key": text} | (
        {"passphrase": passphrase} if passphrase else {}
    )


def _without_secrets(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in ("password", "private_key", "passphrase")}


def _place(problem: Problem) -> str:
    return f"{problem.file} line {problem.line}" if problem.file else f"line {problem.line}"
