"""Reading a list of hosts, of whatever kind."""

import codecs
import gc
import json
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from testum.core.ansible_ini import parse_ansible
from testum.core.ansible_yaml import is_yaml, parse_yaml
from testum.core.csv_hosts import parse_csv
from testum.core.inventory import Draft, Inventory, Problem, lines_of
from testum.core.ssh_config import Include
from testum.core.ssh_hosts import parse_ssh_config

FORMATS = ("csv", "ssh-config", "ansible")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


_MOST_MEMORY = 1 << 30
"""Bytes. No list that is read takes a quarter of it."""
_MOST_SECONDS = 3
"""Of the processor."""
_LONGEST_ANSWER = 40_000_000
_ALWAYS = ("name", "host", "line", "port")
"""Fields of a draft that a message has even where they are empty."""


def decode_list(data: bytes) -> tuple[str, str]:
    """A file's text, and what it was read as where that is not UTF-8. Raises ValueError for what is no text.

    By its first bytes, else UTF-8 (RFC 3629), else UTF-16 where every second byte is zero, else one of the two code pages that
    spreadsheets save in. Words of Windows-1251 have no ASCII letters, those of Windows-1252 have some beside the others; a
    letter that stands alone may be a word of either, and so may one of the few letters of which `ÄÖÜ` or `ÅÄÖ` is made.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if not encoding and b"\0" in data[:1000]:
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    if not encoding:
        try:
            return _text(data, "utf-8"), ""
        except UnicodeDecodeError:
            encoding = _code_page(data)
    return _text(data, encoding), "" if encoding == "utf-8" else encoding.upper().replace(
        "WINDOWS", "Windows"
    )


_WORD = re.compile(rb"[A-Za-z\xa8\xb8\xc0-\xff]{2,}")
"""Of letters in either code page; the two before the last range are the Russian yo, and marks that stand in few other texts."""
_GERMAN_AND_NORDIC = "ÄÖÜäöüßÅåØøÆæ".encode("windows-1252")
"""A word of these alone says nothing: `ÄÖÜ` is how people test a file's code page."""
_ENOUGH_WORDS = 1000


def _code_page(data: bytes) -> str:
    whole = mixed = 0
    for word in _WORD.finditer(data):
        if word[0].strip(_GERMAN_AND_NORDIC) and not word[0].isascii():
            with_ascii = min(word[0]) < 0x80
            mixed += with_ascii
            whole += not with_ascii
            if whole + mixed == _ENOUGH_WORDS:
                break
    return "windows-1251" if whole > mixed else "windows-1252"


def _text(data: bytes, encoding: str) -> str:
    """Raises ValueError."""
    text = data.decode(encoding).removeprefix("\ufeff")
    if re.search("[\x00-\x08\x0e-\x1a\x1c-\x1f]", text):
        raise ValueError(encoding)
    return text


_LONGEST_HEADER = 10_000
_NAMES_OF_HOSTS = frozenset({"name", "host", "hostname", "host name", "ip", "address", "ip address"})
"""Columns of which a table of hosts has one at least."""


def sniff(text: str, filename: str = "") -> str:
    """Which format a file is in: `csv`, `ssh-config` or `ansible`, judged by its name and first lines."""
    if filename.lower().endswith((".csv", ".tsv")):
        return "csv"
    lines = [line.strip() for line in lines_of(text) if line.strip() and line.strip()[0] not in "#;"]
    first = lines[0][:_LONGEST_HEADER].lower() if lines else ""
    cells = {cell.strip(" \"'\ufeff") for cell in re.split(r"[,;\t|]", first)}
    named = not cells.isdisjoint(_NAMES_OF_HOSTS)
    if first.lstrip('"').startswith("sep=") or (named and len(cells) > 1):
        return "csv"
    if lines and re.match(r"\[[^\]]+\]\s*(#.*)?$", lines[0]):
        # A variable of an inventory may be called host.
        return "ansible"
    if any(re.match(r"(?i)(host|match|include)[ \t=]+\S", line) for line in lines):
        return "ssh-config"
    return "csv" if named else "ansible"


def read_list(
    text: str, kind: str = "", *, filename: str = "", include: Include | None = None, local_user: str = ""
) -> Inventory:
    """The hosts in a list of a kind; one that is none of `FORMATS` is judged by the file's name and the first lines.

    `include` and `local_user` are for OpenSSH's configuration; without them nothing is included.
    """
    if kind not in FORMATS:
        kind = sniff(text, filename)
    with _no_search_for_garbage():
        if kind == "csv":
            return parse_csv(text)
        if kind == "ansible":
            return parse_yaml(text) if is_yaml(text) else parse_ansible(text)
        return parse_ssh_config(text, include, local_user)


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """What is read is needed until the end: Python's collector would go through all of it again and again, which takes
    longer than to read, and more than twice as long for twice the list."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def to_json(found: Inventory, most: int) -> str:
    """What was read as a message of one process to another, with no more hosts than so many."""
    drafts = [
        {name: value for name, value in asdict(draft).items() if value or name in _ALWAYS}
        for draft in found.drafts[:most]
    ]
    problems, notes = ([asdict(each) for each in part] for part in (found.problems, found.notes))
    return json.dumps({"drafts": drafts, "problems": problems, "notes": notes})


def from_json(text: str | bytes) -> Inventory:
    """What a message holds."""
    parts = json.loads(text)
    found = Inventory()
    for fields in parts["drafts"]:
        fields.update(
            {name: tuple(fields[name]) for name in ("key_files", "tags", "jumps") if name in fields}
        )
        found.drafts.append(Draft(**fields))
    found.problems += (Problem(**fields) for fields in parts["problems"])
    found.notes += (Problem(**fields) for fields in parts["notes"])
    return found


def _answer() -> None:
    # A list that gets past the other limits uses up the memory of this process only, and the kernel ends it after a while.
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_SECONDS, _MOST_SECONDS))
    asked = json.load(sys.stdin.buffer)
    answer = to_json(read_list(asked["text"], asked["kind"]), asked["most"])
    if len(answer) > _LONGEST_ANSWER:
        sys.exit(1)
    sys.stdout.write(answer)


if __name__ == "__main__":
    _answer()
