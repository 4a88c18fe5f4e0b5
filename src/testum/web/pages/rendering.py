"""Templates: one environment for each language, in which nothing that people or hosts wrote can do harm.

All text that a template prints goes through `visible` and is escaped; what fills a translated message, too.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup, escape

from testum import __version__
from testum.core.feature import Registry
from testum.core.text import login_address, visible
from testum.db.base import new_id
from testum.web.assets import Assets
from testum.web.pages.languages import Language, languages
from testum.web.pages.words import Words


class Templates:
    """All templates in all languages."""

    def __init__(self, assets: Assets, features: Registry) -> None:
        self._assets = assets
        self._features = features
        self._environments: dict[str, Environment] = {}
        self._words: dict[str, Words] = {}
        self._loader = ChoiceLoader(
            [
                FileSystemLoader(str(files("testum.web").joinpath("templates"))),
                PrefixLoader(
                    {
                        name: FileSystemLoader(feature.templates)
                        for name, feature in features.features.items()
                        if feature.templates is not None
                    }
                ),
            ]
        )

    def render(self, template: str, language: Language, context: Mapping[str, Any]) -> str:
        """The page as text."""
        environment = self._environments.get(language.code)
        if environment is None:
            environment = self._environments[language.code] = self._make(language)
        return environment.get_template(template).render(context)

    def words(self, language: Language) -> Words:
        """The words in the language, which are made once."""
        if language.code not in self._words:
            self._words[language.code] = Words(language, self._features)
        return self._words[language.code]

    def _make(self, language: Language) -> Environment:
        environment = Environment(
            loader=self._loader,
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
            auto_reload=False,
        )
        environment.newstyle_gettext = True  # type: ignore[attr-defined]
        environment.policies["ext.i18n.trimmed"] = True
        environment.globals.update(
            gettext=_filled(language.gettext),
            _=_filled(language.gettext),
            ngettext=_filled_plural(language),
            asset=self._assets.url,
            icon=self._icon,
            languages=languages(),
            address=address,
            login_address=login_address,
            new_id=new_id,
            version=__version__,
            words=self.words(language),
        )
        environment.filters.update(
            ago=lambda value: _time(language, value, exact=False),
            moment=lambda value: _time(language, value, exact=True),
            number=language.number,
            duration=language.duration,
            size=language.size,
            field=_field,
            whole_port=_whole_port,
        )
        return environment

    @lru_cache(maxsize=512)  # noqa: B019 - there is one of these for the life of the process
    def _icon(self, name: str, css: str = "") -> Markup:
        """An icon beside a word: it says nothing of its own."""
        return Markup('<svg class="icon {}" aria-hidden="true"><use href="{}"></use></svg>').format(
            css, self._assets.icon(name)
        )


def _shown(value: object) -> object:
    """What a template prints for a value."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def _field(text: object) -> Markup:
    """The value of a form's field: escaped, but otherwise as it is, because the form sends it back."""
    return escape(text)


def _whole_port(login: str) -> Markup:
    """An address whose port stays in one piece where the line breaks. A colon within brackets is an IPv6 address's."""
    place, colon, port = visible(login).rpartition(":")
    if not port.isdecimal() or not colon:
        return escape(visible(login))
    return Markup('{}<span class="text-nowrap">:{}</span>').format(place, port)


def _filled(translate: Callable[[str], str]) -> Callable[..., Markup]:
    def gettext(message: str, /, **values: object) -> Markup:
        return Markup(translate(message)) % _escaped(values)  # noqa: S704 - our own words

    return gettext


def _filled_plural(language: Language) -> Callable[..., Markup]:
    def ngettext(one: str, many: str, number: int, /, **values: object) -> Markup:
        filled = _escaped({**values, "num": language.number(number)})
        return Markup(language.ngettext(one, many, number)) % filled  # noqa: S704 - our own words

    return ngettext


def _escaped(values: Mapping[str, object]) -> dict[str, object]:
    return {
        name: escape(_shown(value)) if isinstance(value, str) else value for name, value in values.items()
    }


def _time(language: Language, value: dt.datetime, *, exact: bool) -> Markup:
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(
        value.isoformat(),
        language.moment(value),
        Markup(' data-shown="exact"') if exact else "",
        language.moment(value) if exact else language.ago(value),
    )


def address(path: str, /, **values: object) -> str:
    """The path with the values that say something as its query."""
    given = {name: value for name, value in values.items() if value not in (None, "", False)}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path
