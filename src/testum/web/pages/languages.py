"""The languages of the interface: one .po file each under `web/locale`, English being what the source says.

The files are read at the start; nothing is compiled, so that adding a language is adding its file.
"""

import datetime as dt
import io
import json
import math
from collections.abc import Mapping
from functools import cache
from gettext import c2py
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from babel import Locale, negotiate_locale
from babel.dates import format_datetime, format_timedelta
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import Translations
from babel.units import format_unit

SOURCE = "en"
_UNITS = ("byte", "kilobyte", "megabyte", "gigabyte", "terabyte", "petabyte")


def locale_folder() -> Path:
    """Where the .po files are."""
    return Path(str(files("testum.web").joinpath("locale")))


class Language:
    """One language: its words, and how it writes numbers and moments."""

    def __init__(self, code: str, catalog: Catalog) -> None:
        self.code = code
        self.locale = Locale.parse(code, sep="-")
        compiled = io.BytesIO()
        write_mo(compiled, catalog)
        compiled.seek(0)
        self.translations = Translations(compiled)
        self.name = (self.locale.get_display_name(code) or code).capitalize()
        self.messages = json.dumps(_for_browser(self.locale, catalog), ensure_ascii=False).replace(
            "<", "\\u003c"
        )
        """What scripts need, as JSON that may stand in a page."""

    def gettext(self, message: str) -> str:
        """The message in this language."""
        return self.translations.gettext(message)

    def ngettext(self, one: str, many: str, number: int) -> str:
        """The message in the form that goes with the number."""
        return self.translations.ngettext(one, many, number)

    def number(self, value: float) -> str:
        """A number, with at most one digit after the point."""
        return format_decimal(round(value, 1), locale=self.locale)

    def moment(self, value: dt.datetime) -> str:
        """A moment in UTC; scripts then show it in the reader's zone."""
        return f"{format_datetime(value.astimezone(dt.UTC), 'medium', locale=self.locale)} UTC"

    def ago(self, value: dt.datetime) -> str:
        """How long ago a moment was."""
        passed = max(dt.datetime.now(dt.UTC) - value, dt.timedelta())
        return format_timedelta(-passed, add_direction=True, format="short", locale=self.locale)

    def duration(self, seconds: float) -> str:
        """A time span: tenths of seconds below ten, then its two greatest units."""
        if seconds < 10:
            return str(format_unit(round(seconds, 1), "second", "short", locale=self.locale))
        parts: list[str] = []
        left = round(seconds)
        for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
            if left >= size and len(parts) < 2:
                parts.append(str(format_unit(left // size, unit, "short", locale=self.locale)))
            left %= size
        return " ".join(parts)

    def size(self, octets: float) -> str:
        """A number of bytes, in the unit that leaves one to four digits (SI prefixes)."""
        power = min(int(math.log(max(octets, 1), 1000)), len(_UNITS) - 1)
        # The short name of the byte is one word for any number of them.
        length: Literal["long", "short"] = "short" if power else "long"
        return str(
            format_unit(
                round(octets / 1000**power, 1), f"digital-{_UNITS[power]}", length, locale=self.locale
            )
        )


def _for_browser(locale: Locale, catalog: Catalog) -> Mapping[str, Any]:
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


@cache
def languages() -> Mapping[str, Language]:
    """All there are, by code."""
    found = {SOURCE: Language(SOURCE, Catalog(locale=SOURCE))}
    for path in sorted(locale_folder().glob("*/LC_MESSAGES/testum.po")):
        code = path.parts[-3]
        with path.open("rb") as file:
            found[code] = Language(code, read_po(file, locale=code.replace("-", "_")))
    return found


def choose(kept: str, accepted: str) -> Language:
    """The language that was chosen before, or else the first of the browser's that there is."""
    known = languages()
    if kept in known:
        return known[kept]
    wanted = []
    for part in accepted[:500].split(","):
        code, _, weight = part.strip().partition(";q=")
        try:
            wanted.append((-float(weight or "1"), code))
        except ValueError:
            continue
    wanted.sort(key=lambda item: item[0])
    fits = negotiate_locale([code for _, code in wanted], list(known), sep="-")
    return known[fits or SOURCE]
