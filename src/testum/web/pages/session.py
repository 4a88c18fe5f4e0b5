"""Logging in and out, and staying logged in.

Access is good for minutes and is renewed by a token in a cookie of its own, which the browser sends to `/session`
alone: see docs/decisions/0038.
"""

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from testum.errors import InvalidInput, NotFound, Throttled, Unauthenticated
from testum.services.auth import Tokens
from testum.web.errors import problem_of
from testum.web.pages.forms import read_form
from testum.web.pages.languages import languages
from testum.web.pages.route import page_router
from testum.web.pages.view import THEMES, BareView, PageView, View, local, login_page, make_view
from testum.web.security import COOKIE, DEVICE_COOKIE, address_of, know_device

router = page_router()

SESSION_COOKIE = "testum_session"
SESSION_PATH = "/session"


def keep(view: View, response: Response, tokens: Tokens) -> None:
    """Let the browser keep the login."""
    response.set_cookie(
        COOKIE,
        tokens.access_token,
        max_age=tokens.expires_in,
        httponly=True,
        samesite="strict",
        secure=view.is_secure,
    )
    response.set_cookie(
        SESSION_COOKIE,
        tokens.refresh_token,
        max_age=tokens.refresh_expires_in,
        path=SESSION_PATH,
        httponly=True,
        samesite="strict",
        secure=view.is_secure,
    )


def forget(response: Response) -> None:
    """Take the login's cookies away."""
    response.delete_cookie(COOKIE)
    response.delete_cookie(SESSION_COOKIE, path=SESSION_PATH)


@router.get("/login")
async def login_form(view: BareView, next: str = "", ended: str = "") -> Response:
    """The form to log in with; `ended`, where a login ended while its person was doing something."""
    return view.render(
        "login.html",
        title=view.gettext("Log in"),
        next=local(next),
        username="",
        problem="",
        ended=bool(ended),
    )


@router.post("/login")
async def login(request: Request, view: BareView) -> Response:
    """Log in, and go on to where the person wanted to be."""
    form = await read_form(request)
    username, next_page = form.text("username"), local(form.text("next"))
    try:
        tokens = await view.app.auth.login(
            username,
            form.raw("password"),
            address=address_of(request),
            client=request.headers.get("user-agent", ""),
            device=request.cookies.get(DEVICE_COOKIE, ""),
            browser=True,
        )
    except (Unauthenticated, Throttled) as error:
        response = view.render(
            "login.html",
            status=problem_of(error).status_code,
            title=view.gettext("Log in"),
            next=next_page,
            username=username,
            problem=view.words.message(error.message),
            ended=False,
        )
        if isinstance(error, Throttled):
            response.headers["Retry-After"] = str(error.retry_after)
        return response
    if tokens.user.must_change_password:
        next_page = "/account/password"
    response = RedirectResponse(next_page, 303)
    keep(view, response, tokens)
    know_device(response, tokens.device, secure=view.is_secure)
    return response


@router.get("/session/renew")
async def renew_and_return(request: Request, next: str = "") -> Response:
    """Renew access for a page that was asked for without it."""
    view = make_view(request, None)
    try:
        tokens = await _renew(request, view)
    except (Unauthenticated, Throttled):
        target = local(next)
        response = RedirectResponse(login_page(target), 303)
        forget(response)
        return response
    response = RedirectResponse(local(next), 303)
    keep(view, response, tokens)
    return response


@router.post("/session/renew")
async def renew(request: Request, view: BareView) -> Response:
    """Renew access for scripts of an open page."""
    try:
        tokens = await _renew(request, view)
    except (Unauthenticated, Throttled) as error:
        return problem_of(error)
    response = JSONResponse({"expires_in": tokens.expires_in})
    keep(view, response, tokens)
    return response


async def _renew(request: Request, view: View) -> Tokens:
    token = request.cookies.get(SESSION_COOKIE, "")
    return await view.app.auth.renew(token, address=address_of(request))


@router.post("/logout")
async def logout(view: PageView) -> Response:
    """End this login."""
    await view.app.auth.logout(view.actor)
    response = RedirectResponse("/login", 303)
    forget(response)
    return response


@router.get("/account/password")
async def password_form(view: PageView) -> Response:
    """Change the password; the only page there is while it must be changed."""
    return view.render("password.html", title=view.gettext("Change the password"), problems={}, problem="")


@router.post("/account/password")
async def change_password(request: Request, view: PageView) -> Response:
    """Take the new password, if it was typed alike twice."""
    form = await read_form(request)
    problems: dict[str, str] = {}
    problem = ""
    words = view.words
    if form.raw("new_password") != form.raw("repeated"):
        problems["repeated"] = view.gettext("The two do not agree.")
    else:
        try:
            await view.app.auth.change_password(
                view.actor, form.raw("current_password"), form.raw("new_password")
            )
        except InvalidInput as error:
            problems = {item.field: words.message(item.message) for item in error.fields}
            if not problems:
                problems["current_password"] = words.message(error.message)
        except Throttled as error:
            problem = words.message(error.message)
    if problems or problem:
        return view.render(
            "password.html",
            status=422,
            title=view.gettext("Change the password"),
            problems=problems,
            problem=problem,
        )
    return view.redirect(
        "/", view.gettext("The password was changed. Other logins of this account have ended.")
    )


@router.post("/preferences")
async def prefer(request: Request, view: BareView) -> Response:
    """Keep a choice of theme or language in this browser."""
    form = await read_form(request)
    response = RedirectResponse(local(form.text("next")), 303)
    choices = {"theme": THEMES, "language": tuple(languages()), "platforms": ("tiles", "table")}
    for name, allowed in choices.items():
        value = form.text(name)
        if value and value not in allowed:
            raise NotFound("There is no such choice.")
        if value:
            view.remember(response, name, value)
    return response
