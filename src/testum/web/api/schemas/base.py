"""What all bodies have in common, and the answers that are the same everywhere."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Secret = Annotated[str, StringConstraints(max_length=64 * 1024)]
Tags = Annotated[list[Annotated[str, StringConstraints(max_length=100)]], Field(max_length=50)]


class Body(BaseModel):
    """A request's body: unknown fields are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable; `detail` is for people, and `error` is the same text."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    error: str
    errors: list[dict[str, str]] | None = None
    tasks: list[dict[str, str]] | None = Field(
        None, description="With `may_still_run`: the tasks that nobody knows to be gone."
    )


class MessageOut(BaseModel):
    """What was done, in words."""

    message: str
