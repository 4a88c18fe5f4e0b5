"""The languages of the interface: one .po file each under `web/locale`, English being what the source says."""

import datetime as dt
import io
import json
import math
from collections.abc import Mapping
from functools import cache
from gettext import GNUTranslations, NullTranslations
from typing import Literal

from babel import Locale, negotiate_locale
from babel.dates import format_datetime, format_timedelta
from babel.numbers import format_decimal
from babel.units import format_unit

from testum.web import catalogues
from testum.web.catalogues import Catalogue

SOURCE = "en"
_UNITS = ("byte", "kilobyte", "megabyte", "gigabyte", "terabyte", "petabyte")

# Its two forms of plurals, by CLDR's categories.
_ENGLISH = Catalogue("English", b"", {"messages": {}, "plurals": {"one": 0, "other": 1}})


class Language:
    """One language: its words, and how it writes numbers and moments."""

    def __init__(self, code: str, catalogue: Catalogue) -> None:
        self.code = code
        self.name = catalogue.name
        self.locale = Locale.parse(code, sep="-")
        self._translations = GNUTranslations(io.BytesIO(catalogue.mo)) if catalogue.mo else NullTranslations()
        self.messages = json.dumps(catalogue.browser, ensure_ascii=False).replace("<", "\\u003c")
        """What scripts need, as JSON that may stand in a page."""

    def gettext(self, message: str) -> str:
        """The message in this language."""
        return self._translations.gettext(message)

    def ngettext(self, one: str, many: str, number: int) -> str:
        """The message in the form that goes with the number."""
        return self._translations.ngettext(one, many, number)

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


@cache
def languages() -> Mapping[str, Language]:
    """All there are, by code."""
    translated = {code: Language(code, catalogues.read(path)) for code, path in catalogues.sources()}
    return {SOURCE: Language(SOURCE, _ENGLISH), **translated}


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
