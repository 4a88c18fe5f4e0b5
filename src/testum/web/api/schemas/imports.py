"""A list of hosts, and what an import of it does."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from testum.services.import_lists import MAX_DRAFTS
from testum.web.api.schemas.base import Body, Secret, Tags

_Text = Annotated[str, StringConstraints(max_length=4000)]
_Short = Annotated[str, StringConstraints(max_length=255)]


class KeyOfHosts(Body):
    """A private key with which several hosts of the list are logged in to."""

    private_key: Secret = Field(default="", description="With `dry_run` it may be kept back.")
    passphrase: Secret = ""


class HostBody(Body):
    """A host of the list. What is empty, the list does not say."""

    name: _Short
    host: _Short = Field(default="", description="Its address; else its name.")
    port: Annotated[int, Field(ge=0, le=65535, strict=True)] = 22
    username: Annotated[str, StringConstraints(max_length=150)] = ""
    auth_method: Literal["", "password", "private_key", "key_and_password"] = ""
    password: Secret = ""
    private_key: Secret = ""
    passphrase: Secret = ""
    key: _Short = Field(default="", description="The name of one of the list's `keys`.")
    tags: Tags = Field(default=[])
    description: _Text = ""
    jumps: list[_Short] = Field(
        default=[],
        max_length=50,
        description="The hops on the way to it, nearest to testum first: names, or `user@host:port`.",
    )
    hop: _Short = Field(
        default="",
        description="Of a jump host that the list names on a way and nowhere else: how it is written there.",
    )
    line: Annotated[int, Field(ge=0, lt=2**31)] = 0
    problem: _Text = Field(default="", description="Why whoever has read the list could not complete it.")


class ImportBody(Body):
    """A list of hosts, as text or as rows, and how to log in where it does not say."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "text": "name,host,port\nweb1,192.0.2.10,22\n",
                    "username": "deploy",
                    "password": "correct horse",
                    "tags": ["new"],
                    "dry_run": True,
                }
            ]
        },
    )
    text: Annotated[str, StringConstraints(max_length=4 * 1024 * 1024)] | None = None
    hosts: Annotated[list[HostBody], Field(max_length=MAX_DRAFTS)] | None = None
    keys: dict[_Short, KeyOfHosts] = Field(
        default={}, description="Of `hosts`, by names of the caller's choice."
    )
    format: Literal["auto", "csv", "ssh-config", "ansible"] = "auto"
    username: Annotated[str, StringConstraints(max_length=150)] = ""
    key_id: UUID | None = Field(default=None, description="A kept key to log in with.")
    password: Secret = ""
    tags: Tags = Field(default=[], description="For all that are added.")
    dry_run: bool = Field(default=False, description="Only say what would be done.")
    update: bool = Field(default=False, description="Also change those that are there and differ.")


class ChangeOut(BaseModel):
    """A field that differs."""

    field: str
    old: str
    new: str


class StepOut(BaseModel):
    """What is done about a host: `add`, `change` (only with `update`), `same`, or nothing because of a `problem`, which
    `message` tells."""

    name: str
    line: int
    kind: Literal["add", "change", "same", "problem"]
    address: str
    via: str
    tags: list[str]
    changes: list[ChangeOut]
    message: str


class LineOut(BaseModel):
    """A line of the list that could not be used, or in a note what was left out of it."""

    line: int
    message: str
    name: str
    file: str


class PlanOut(BaseModel):
    """What was done, or would be. The numbers are those of the steps of each kind."""

    dry_run: bool
    add: int
    change: int
    same: int
    problem: int
    steps: list[StepOut]
    problems: list[LineOut]
    notes: list[LineOut]
