"""What every page needs: who asks, in which language and theme, and the ways to answer."""

import base64
import binascii
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlencode, urlsplit

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup
from starlette.routing import Match

from testum.app import Testum
from testum.core.feature import MenuEntry
from testum.core.permissions import Actor, allows
from testum.db.jobs import Job
from testum.errors import Forbidden, Unauthenticated
from testum.web.pages.languages import Language, choose
from testum.web.pages.rendering import Templates
from testum.web.pages.words import Words
from testum.web.security import COOKIE, actor_of, address_of, may_be_ours, testum_of

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
THEMES = ("dark", "light", "system")
NOTE_COOKIE = "note"
_YEAR = 365 * 86_400
_NOTE_BYTES = 1_000

Kind = Literal["success", "error", "info"]


@dataclass(slots=True)
class View:
    """One request for a page. `actor` is None before the login."""

    request: Request
    app: Testum
    language: Language
    theme: str
    actor: Actor | None

    @property
    def here(self) -> str:
        """The address of this page, for coming back to it: what answers a form has the form's."""
        return page_behind(self.request)

    @property
    def is_partial(self) -> bool:
        """Whether htmx asks for a part of the page (and not for the whole, to go back in the history)."""
        headers = self.request.headers
        return headers.get("hx-request") == "true" and headers.get("hx-history-restore-request") != "true"

    def may(self, permission: str) -> bool:
        """Whether to show what needs a permission; the services decide once more."""
        return self.actor is not None and allows(self.actor, self.app.features.permissions[permission])

    @property
    def menu(self) -> Sequence[MenuEntry]:
        """What features add to the main menu."""
        return [entry for entry in self.app.features.menu if self.may(entry.permission.name)]

    @property
    def words(self) -> Words:
        """The words for what the rest of testum calls by codes."""
        return self._templates.words(self.language)

    def describe(self, job: Job) -> str:
        """What a job does, in its own words; empty where its kind says it all."""
        return self.app.features.describe(job.type, job.parameters)

    def cookie(self, name: str, *allowed: str) -> str:
        """A choice that this browser keeps: one of `allowed`, the first where it keeps none."""
        kept = self.request.cookies.get(name, "")
        return kept if kept in allowed else allowed[0]

    def gettext(self, message: str, **values: object) -> str:
        """The message in the page's language."""
        return self.language.gettext(message) % values

    def ngettext(self, one: str, many: str, number: int, **values: object) -> str:
        """The message in the form that goes with the number, which fills `%(num)s`."""
        return self.language.ngettext(one, many, number) % {"num": self.language.number(number), **values}

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """A page, or a part of one."""
        note = self._note()
        text = self._text(template, {"note": note, **context})
        response = HTMLResponse(text, status, headers={"Content-Security-Policy": CSP, "Vary": "HX-Request"})
        if note is not None and not self.is_partial:
            response.delete_cookie(NOTE_COOKIE)
        return response

    async def parts(self, place: str) -> list[Markup]:
        """What features add to a place of this page."""
        return [
            Markup(self._text(part.template, await part.fill(self)))  # noqa: S704 - templates escape
            for part in self.app.features.parts(place)
        ]

    @property
    def _templates(self) -> Templates:
        templates: Templates = self.request.app.state.templates
        return templates

    def _text(self, template: str, context: Mapping[str, Any]) -> str:
        return self._templates.render(
            template,
            self.language,
            {
                "view": self,
                "actor": self.actor,
                "may": self.may,
                "theme": self.theme,
                "language": self.language,
                "messages": Markup(self.language.messages),  # noqa: S704 - our own JSON, `<` escaped
                "access_seconds": _seconds_left(self.request.cookies.get(COOKIE, "")) if self.actor else 0,
                "narrow": self.request.cookies.get("menu") == "narrow",
                "title": "",
                "section": "",
                "crumbs": (),
                "sought": "",
                "help_text": "",
                "note": None,
                **context,
            },
        )

    def redirect(self, address: str, note: str = "", kind: Kind = "success") -> Response:
        """Go on at another of our pages, which shows the note."""
        response: Response
        if self.request.headers.get("hx-request") == "true":
            response = Response(status_code=204, headers={"HX-Redirect": address})
        else:
            response = RedirectResponse(address, 303)
        if note:
            keep_note(response, note, kind)
        return response

    def remember(self, response: Response, name: str, value: str) -> None:
        """Keep a choice in this browser."""
        response.set_cookie(name, value, max_age=_YEAR, samesite="lax", secure=self.is_secure)

    @property
    def is_secure(self) -> bool:
        """Whether cookies are for TLS alone."""
        return self.request.url.scheme == "https" or self.app.settings.cookie_secure

    def _note(self) -> Mapping[str, str] | None:
        kept = self.request.cookies.get(NOTE_COOKIE)
        if not kept:
            return None
        try:
            note = json.loads(base64.urlsafe_b64decode(kept))
            return {"text": str(note["text"]), "kind": "error" if note["kind"] == "error" else "success"}
        except (binascii.Error, ValueError, KeyError, TypeError):
            return None


def keep_note(response: Response, text: str, kind: Kind) -> None:
    """Let the next page show a note."""
    # Cut between characters, and far below what browsers take as a cookie.
    short = text.encode()[:_NOTE_BYTES].decode("utf-8", "ignore")
    value = base64.urlsafe_b64encode(json.dumps({"text": short, "kind": kind}).encode()).decode()
    response.set_cookie(NOTE_COOKIE, value, max_age=60, httponly=True, samesite="strict")


def local(address: str | None, otherwise: str = "/") -> str:
    """The address if it is one of our own pages: nobody is sent elsewhere by a link that someone made."""
    if address and address.startswith("/") and address[1:2] not in ("/", "\\") and address.isprintable():
        return quote(address, safe="/?&=%-_.~+:,@!$'()*;[]")
    return otherwise


def page_behind(request: Request) -> str:
    """The page that the person looks at: the one that is asked for, or the one that sent a form or wants a part.
    Never another site's, and never an address that only takes forms: then it is the page above it."""
    url = request.url
    asked = f"{url.path}?{url.query}" if url.query else url.path
    by_script = request.headers.get("hx-request") == "true"
    if request.method in ("GET", "HEAD") and not by_script:
        return asked
    return _sender(request) or page_above(request)


def _sender(request: Request) -> str:
    """Our page that the request came from, as the browser says; empty where it does not say, or it was none."""
    for name in ("hx-current-url", "referer"):
        try:
            url = urlsplit(request.headers.get(name, ""))
        except ValueError:
            continue
        path = local(url.path, "")
        if path and url.netloc == request.headers.get("host") and _is_page(request, url.path):
            return local(f"{url.path}?{url.query}" if url.query else url.path)
    return ""


def page_above(request: Request) -> str:
    """The page at the address of the request, or the next one above it."""
    path = request.url.path
    while path.strip("/") and not _is_page(request, path):
        path = path.rpartition("/")[0]
    return path or "/"


def takes_only_forms(request: Request) -> bool:
    """Whether there is something at the address of the request, but no page."""
    return _match(request, request.url.path) is Match.PARTIAL


def _is_page(request: Request, path: str) -> bool:
    """Whether a page can be asked for there."""
    return _match(request, path) is Match.FULL


def _match(request: Request, path: str) -> Match:
    """How a page's address fits the routes. The first route that knows the path decides: a later one may take a word
    of ours for an id."""
    scope = {"type": "http", "method": "GET", "path": unquote(path), "root_path": "", "headers": []}
    found = (route.matches(scope)[0] for route in request.app.routes)
    return next((match for match in found if match is not Match.NONE), Match.NONE)


def login_page(target: str, *, ended: bool = False) -> str:
    """The address of the login that comes back to `target`; `ended` says that there was a login before."""
    asked = {"next": target if target != "/" else "", "ended": "1" if ended else ""}
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"/login?{query}" if query else "/login"


def bare_view(request: Request) -> View:
    """For pages that need no login. Raises Forbidden for what another site's page sends."""
    if not may_be_ours(request):
        raise Forbidden(
            "This request came from another site's page, or from a form that does not say where it is.",
            code="cross_site",
        )
    return make_view(request, None)


def make_view(request: Request, actor: Actor | None) -> View:
    """The view of a request, whoever sent it."""
    cookies = request.cookies
    theme = cookies.get("theme", "")
    return View(
        request,
        testum_of(request),
        choose(cookies.get("language", ""), request.headers.get("accept-language", "")),
        theme if theme in THEMES else THEMES[0],
        actor,
    )


async def logged_in_view(request: Request) -> View:
    """For pages that need a login. Raises Unauthenticated, Forbidden."""
    if request.method == "GET":
        # Looking at a page without a login leads to the login: that is nothing to be noted.
        token = request.cookies.get(COOKIE, "")
        if not token:
            raise Unauthenticated("Log in first: this needs an access token.")
        actor = await testum_of(request).auth.authenticate(token, address=address_of(request))
    else:
        actor = await actor_of(request)
    return make_view(request, actor)


class _WithActor(View):
    """A view whose actor is known."""

    actor: Actor


BareView = Annotated[View, Depends(bare_view)]
PageView = Annotated[_WithActor, Depends(logged_in_view)]


def _seconds_left(token: str) -> int:
    """How long a token, which was checked before, is still good for."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return max(1, int(claims["exp"] - time.time()))
    except (binascii.Error, ValueError, KeyError, TypeError, IndexError):
        return 1
