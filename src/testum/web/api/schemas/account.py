"""Logging in, and the own account."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, StringConstraints

from testum.web.api.schemas.base import Body

Password = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class LoginBody(Body):
    """A name and a password."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"username": "admin", "password": "correct horse"}]}
    )
    username: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    password: Password


class RefreshBody(Body):
    """The refresh token that the last login or refresh gave."""

    refresh_token: Annotated[str, StringConstraints(max_length=200)]


class UserOut(BaseModel):
    """An account."""

    id: UUID
    username: str
    role: str
    must_change_password: bool


class ChangedUserOut(UserOut):
    """An account that was changed, and what was done, in words."""

    message: str


class TokensOut(BaseModel):
    """What a login gives. Times in seconds; the refresh token is good once."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - RFC 6750's name of the scheme
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    user: UserOut


class ChangeUsernameBody(Body):
    """The own account's new name."""

    current_password: Password
    new_username: Annotated[str, StringConstraints(min_length=1, max_length=150)]


class ChangePasswordBody(Body):
    """The own account's new password."""

    current_password: Password
    new_password: Password
