"""What all bodies have in common, and the answers that are the same everywhere."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_MOST_UNKNOWN = 20

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Secret = Annotated[str, StringConstraints(max_length=64 * 1024)]
Tags = Annotated[list[Annotated[str, StringConstraints(max_length=100)]], Field(max_length=50)]


class Body(BaseModel):
    """A request's body: unknown fields are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_unknown(cls, data: Any) -> Any:
        """Each unknown field is told by itself, which takes time: not where there are many."""
        if isinstance(data, dict) and len(data) > len(cls.model_fields) + _MOST_UNKNOWN:
            raise ValueError("has too many fields")
        return data


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
