"""Logging in and out, and the own account."""

from contextlib import suppress

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.requests import HTTPConnection

from testum.errors import TestumError
from testum.services.auth import Tokens
from testum.web.api import serializers
from testum.web.api.responses import PROTECTED, problems
from testum.web.api.schemas.account import (
    ChangedUserOut,
    ChangePasswordBody,
    ChangeUsernameBody,
    LoginBody,
    RefreshBody,
    TokensOut,
    UserOut,
)
from testum.web.api.schemas.base import MessageOut
from testum.web.security import COOKIE, DEVICE_COOKIE, App, CurrentActor, actor_of, address_of, know_device

router = APIRouter(prefix="/auth", tags=["account"])


def _is_secure(request: HTTPConnection, app: App) -> bool:
    return request.url.scheme == "https" or app.settings.cookie_secure


def _answer(request: HTTPConnection, response: Response, app: App, tokens: Tokens) -> TokensOut:
    response.set_cookie(
        COOKIE,
        tokens.access_token,
        max_age=tokens.expires_in,
        httponly=True,
        samesite="strict",
        secure=_is_secure(request, app),
    )
    return TokensOut(
        access_token=tokens.access_token,
        expires_in=tokens.expires_in,
        refresh_token=tokens.refresh_token,
        refresh_expires_in=tokens.refresh_expires_in,
        user=serializers.user(tokens.user),
    )


@router.post("/login", responses=problems(400, 401, 422, 429), operation_id="login")
async def login(body: LoginBody, request: Request, response: Response, app: App) -> TokensOut:
    """Log in. Also sets the `access_token` cookie."""
    tokens = await app.auth.login(
        body.username,
        body.password,
        address=address_of(request),
        client=request.headers.get("user-agent", ""),
        device=request.cookies.get(DEVICE_COOKIE, ""),
    )
    know_device(response, tokens.device, secure=_is_secure(request, app))
    return _answer(request, response, app, tokens)


@router.post("/refresh", responses=problems(400, 401, 422), operation_id="refresh")
async def refresh(body: RefreshBody, request: Request, response: Response, app: App) -> TokensOut:
    """Trade the refresh token for new tokens. It is good once: used again, the login ends."""
    tokens = await app.auth.refresh(body.refresh_token, address=address_of(request))
    return _answer(request, response, app, tokens)


@router.post("/logout", responses=PROTECTED, operation_id="logout")
async def logout(actor: CurrentActor, response: Response, app: App) -> MessageOut:
    """End this login: its tokens are void at once."""
    await app.auth.logout(actor)
    response.delete_cookie(COOKIE)
    return MessageOut(message="Logged out.")


@router.get("/logout", status_code=302, response_class=RedirectResponse, operation_id="leave")
async def leave(request: Request, app: App) -> RedirectResponse:
    """End this login, if it is one, and go to the page to log in: for a link. Another site's page cannot send the cookie
    (SameSite=Strict)."""
    with suppress(TestumError):
        await app.auth.logout(await actor_of(request))
    response = RedirectResponse("/login", 302)
    response.delete_cookie(COOKIE)
    return response


@router.get("/me", responses=PROTECTED, operation_id="me")
async def me(actor: CurrentActor, app: App) -> UserOut:
    """The account that is logged in."""
    return serializers.user(await app.auth.me(actor))


@router.post("/change-username", responses=PROTECTED | problems(409, 429), operation_id="changeUsername")
async def change_username(body: ChangeUsernameBody, actor: CurrentActor, app: App) -> ChangedUserOut:
    """Give the own account another name."""
    user = await app.auth.change_username(actor, body.current_password, body.new_username)
    return ChangedUserOut(**serializers.user(user).model_dump(), message="The user name was changed.")


@router.post("/change-password", responses=PROTECTED | problems(429), operation_id="changePassword")
async def change_password(body: ChangePasswordBody, actor: CurrentActor, app: App) -> ChangedUserOut:
    """Give the own account another password; its other logins end."""
    user = await app.auth.change_password(actor, body.current_password, body.new_password)
    return ChangedUserOut(**serializers.user(user).model_dump(), message="The password was changed.")
