"""What a language's .po file is compiled to when testum is built: beside it a .mo, which the standard library reads, and
a .json with what scripts need.

Reading a .po takes as much memory as all pages together. The build loads this file by its path, where the rest of testum
may not be installed: beside the standard library it uses babel alone, and that only to compile.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from gettext import c2py
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from babel import Locale
    from babel.messages.catalog import Catalog

FOLDER = Path(__file__).parent / "locale"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One language. `name`: what its speakers call it; `mo`: its messages as gettext has them; `browser`: what scripts
    need of them, in JSON's types."""

    name: str
    mo: bytes
    browser: dict[str, Any]


def sources() -> Iterator[tuple[str, Path]]:
    """The code of each language that there is a .po file of, and that file."""
    for path in sorted(FOLDER.glob("*/LC_MESSAGES/testum.po")):
        yield path.parts[-3], path


def read(path: Path) -> Catalogue:
    """The messages of a .po file: what it was compiled to, or, where that is missing or of another text, the file."""
    return _compiled(path) or _compile(path)


def is_current(path: Path) -> bool:
    """Whether what the .po file was compiled to is there, and made from this text."""
    return _compiled(path) is not None


def build(path: Path) -> None:
    """Compile the .po file, unless that was done."""
    if is_current(path):
        return
    made = _compile(path)
    # The second names the text that both are of, so that one alone is never taken for current.
    _write(path.with_suffix(".json"), b"")
    _write(path.with_suffix(".mo"), made.mo)
    kept = {"source": _fingerprint(path), "name": made.name, "browser": made.browser}
    text = json.dumps(kept, ensure_ascii=False)
    _write(path.with_suffix(".json"), text.encode())


def _write(path: Path, content: bytes) -> None:
    new = path.with_suffix(f".{os.getpid()}.tmp")
    new.write_bytes(content)
    new.replace(path)


def _fingerprint(path: Path) -> str:
    """Of the text, and of the rules by which it is compiled."""
    return hashlib.sha256(Path(__file__).read_bytes() + path.read_bytes()).hexdigest()


def _compiled(path: Path) -> Catalogue | None:
    try:
        kept = json.loads(path.with_suffix(".json").read_bytes())
        if kept["source"] == _fingerprint(path):
            return Catalogue(kept["name"], path.with_suffix(".mo").read_bytes(), kept["browser"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # missing, cut off, or of another release
    return None


def _compile(path: Path) -> Catalogue:
    from babel import Locale
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    code = path.parts[-3]
    locale = Locale.parse(code, sep="-")
    with path.open("rb") as file:
        catalog = read_po(file, locale=locale)
    mo = io.BytesIO()
    write_mo(mo, catalog)
    name = (locale.get_display_name(code) or code).capitalize()
    return Catalogue(name, mo.getvalue(), _for_browser(locale, catalog))


def _for_browser(locale: "Locale", catalog: "Catalog") -> dict[str, Any]:
    """The messages that come from TypeScript, and which of the catalogue's plural forms goes with which of CLDR's
    categories: browsers know the categories, gettext the forms."""
    messages: dict[str, str | list[str]] = {}
    for message in catalog:
        if not message.id or not any(place.endswith(".ts") for place, _ in message.locations):
            continue
        if isinstance(message.id, tuple | list):
            messages[message.id[0]] = list(message.string or ())
        else:
            messages[message.id] = str(message.string)
    form_of = c2py(catalog.plural_expr)
    plurals = {locale.plural_form(number): int(form_of(number)) for number in range(200)}
    return {"messages": messages, "plurals": plurals}
