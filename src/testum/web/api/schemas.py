"""What goes over the wire: the bodies of requests and answers, as OpenAPI documents them."""

import datetime as dt
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from testum.core.actions import MAX_CONCURRENCY, MAX_TIMEOUT, JobType, RerunOf
from testum.core.difference import Change
from testum.core.states import JobStatus, PlatformState, StateFilter, TaskStatus
from testum.services.status import WallState

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Secret = Annotated[str, StringConstraints(max_length=64 * 1024)]
Password = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class Body(BaseModel):
    """A request's body: unknown fields are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid", use_enum_values=False)


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[dict[str, str]] | None = None
    tasks: list[dict[str, str]] | None = Field(
        None, description="With `may_still_run`: the tasks that nobody knows to be gone."
    )


class LoginBody(Body):
    """A name and a password."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"username": "admin", "password": "correct horse"}]}
    )
    username: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    password: Password
    otp: Annotated[str, StringConstraints(max_length=20)] | None = Field(
        default=None, description="A one-time code; for accounts that need one."
    )


class RefreshBody(Body):
    """The refresh token that the last login or refresh gave."""

    refresh_token: Annotated[str, StringConstraints(max_length=200)]


class UserOut(BaseModel):
    """An account."""

    id: UUID
    username: str
    role: str
    must_change_password: bool


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


class MessageOut(BaseModel):
    """What was done, in words."""

    message: str


_KEY_EXAMPLE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2 alice@laptop"


class KeyBody(Body):
    """A public key, and its private half where platforms are to log in with it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "alice@laptop", "public_key": _KEY_EXAMPLE}]},
    )
    name: Name
    public_key: Secret
    private_key: Secret | None = None
    passphrase: Secret | None = None


class KeyOut(BaseModel):
    """A kept key. Its private half is never shown."""

    id: UUID
    name: str
    public_key: str
    fingerprint: str
    algorithm: str
    has_private_key: bool
    created_by: str
    created_at: dt.datetime


Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Zone = Annotated[str, StringConstraints(min_length=1, max_length=63)]
Tags = Annotated[list[Annotated[str, StringConstraints(max_length=100)]], Field(max_length=50)]

AuthMethod = Annotated[
    Literal["password", "private_key", "key_and_password"],
    Field(
        description="`key_and_password`: for a host that asks for both in two steps. The password is given only after "
        "the key was accepted, or where the host does not ask for a key first."
    ),
]


class PlatformBody(Body):
    """A new platform."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "web-01",
                    "host": "192.0.2.10",
                    "username": "deploy",
                    "auth_method": "password",
                    "password": "correct horse",
                    "tags": ["web", "prod"],
                }
            ]
        },
    )
    name: Name
    host: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    port: Port = 22
    username: Annotated[str, StringConstraints(min_length=1, max_length=150)]
    auth_method: AuthMethod
    password: Secret | None = None
    private_key: Secret | None = None
    passphrase: Secret | None = None
    key_id: UUID | None = Field(default=None, description="A kept key to log in with.")
    jump_platform_id: UUID | None = Field(default=None, description="The platform to connect through.")
    known_host_key: Secret | None = Field(
        default=None, description="The host's public key, `ssh-ed25519 AAAA...`: trusted from the start."
    )
    host_key_policy: Literal["auto_add", "strict"] | None = Field(
        default=None, description="Stricter than the installation's policy, where wanted."
    )
    shell: Literal["posix", "plain"] = Field(
        default="posix",
        description="`plain` for hosts without a POSIX shell (network devices): commands go out as they are, "
        "and a cancel cannot be confirmed.",
    )
    zone: Zone = Field(default="default", description="The network zone whose workers reach it.")
    description: Annotated[str, StringConstraints(max_length=4000)] = ""
    tags: Tags = []


class PlatformPatch(Body):
    """Changes to a platform: fields left out stay as they are."""

    name: Name | None = None
    host: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    port: Port | None = None
    username: Annotated[str, StringConstraints(min_length=1, max_length=150)] | None = None
    auth_method: AuthMethod | None = None
    password: Secret | None = None
    private_key: Secret | None = None
    passphrase: Secret | None = None
    key_id: UUID | None = None
    jump_platform_id: UUID | None = None
    known_host_key: Secret | None = Field(
        default=None,
        description="Trust this host key from now on; null forgets what is trusted, so that the next "
        "connection counts as the first.",
    )
    host_key_policy: Literal["auto_add", "strict"] | None = None
    shell: Literal["posix", "plain"] | None = None
    zone: Zone | None = None
    description: Annotated[str, StringConstraints(max_length=4000)] | None = None
    tags: Tags | None = None

    def changes(self) -> dict[str, Any]:
        """The fields that were sent. A null that could only break a field counts as not sent."""
        clearable = {
            "password", "private_key", "passphrase", "key_id", "jump_platform_id", "known_host_key",
            "host_key_policy",
        }  # fmt: skip
        sent = {name: getattr(self, name) for name in self.model_fields_set}
        return {name: value for name, value in sent.items() if value is not None or name in clearable}


class PlatformTestBody(PlatformPatch):
    """How a platform is to be reached that is not saved so. Fields that do not matter for that are passed over."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "host": "192.0.2.10",
                    "username": "deploy",
                    "auth_method": "password",
                    "password": "correct horse",
                }
            ]
        },
    )


class ShownKeyOut(BaseModel):
    """The host key that a host showed. `trust`: it is `trusted`; it is `new`, because none is trusted there yet; or
    `other` than the one that is."""

    algorithm: str
    public_key: str
    fingerprint: str
    trust: Literal["trusted", "new", "other"]


class PlatformTestOut(BaseModel):
    """What came of a try to connect and log in. Where it did not succeed, `error_code` says why as it does of tasks."""

    success: bool
    latency_ms: float | None = Field(description="Of connecting and logging in.")
    host_key: ShownKeyOut | None
    server_version: str | None
    error_code: str | None
    error_message: str | None


class PlatformOut(BaseModel):
    """A platform. A secret is never shown, only whether there is one."""

    id: UUID
    name: str
    host: str
    port: int
    username: str
    auth_method: str
    has_password: bool
    has_private_key: bool
    has_passphrase: bool
    key_id: UUID | None
    jump_platform_id: UUID | None
    known_host_fingerprint: str | None
    known_host_keys: list[str]
    host_key_policy: str | None
    shell: str
    zone: str
    description: str
    tags: list[str]
    facts: dict[str, Any] | None
    facts_at: dt.datetime | None
    state: PlatformState
    state_at: dt.datetime | None
    created_by: str
    created_at: dt.datetime
    updated_at: dt.datetime


class DeployBody(Body):
    """Which keys to deploy; without key_ids all there are."""

    key_ids: Annotated[list[UUID], Field(max_length=500)] | None = None


Timeout = Annotated[float, Field(gt=0, le=MAX_TIMEOUT, description="Seconds.")]
Concurrency = Annotated[int, Field(ge=1, le=MAX_CONCURRENCY, description="Tasks at once.")]
Environment = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=200)],
        Annotated[str, StringConstraints(max_length=32_768)],
    ],
    Field(max_length=100),
]


class RunCommandBody(Body):
    """A command for one platform."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"command": "uptime", "timeout": 60}]}
    )
    command: str
    timeout: Timeout = 60
    environment: Environment = {}


class ScriptBody(Body):
    """A program; its text goes to the interpreter over stdin."""

    text: str
    interpreter: Annotated[str, StringConstraints(min_length=1, max_length=500)] = "/bin/sh"
    arguments: Annotated[
        list[Annotated[str, StringConstraints(max_length=32_768)]], Field(max_length=100)
    ] = []


class TargetsBody(Body):
    """Which platforms. Selectors of different kinds narrow each other."""

    platform_ids: Annotated[list[UUID], Field(max_length=10_000)] = []
    names: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=200)]], Field(max_length=1000)
    ] = Field(default=[], description="Names, or patterns such as `web*`; several add up.")
    tags: Tags = Field(default=[], description="All must be there.")
    all: StrictBool = False


class JobTargetsBody(TargetsBody):
    """Which platforms a job is for."""

    selection_id: UUID | None = Field(
        default=None,
        description="A saved selection; stands alone. Refused while platforms that it names are gone.",
    )


class CriteriaBody(TargetsBody):
    """What a selection selects: platforms by their ids, which stand alone, or what is asked of a platform."""

    q: Annotated[str, StringConstraints(max_length=200)] = Field(
        default="",
        description="Text in name, host or description; with `*` or `?` a pattern for the whole name or host.",
    )
    state: StateFilter | None = None


class SelectionBody(Body):
    """A selection of platforms to keep. What is asked of platforms is kept as it is: those added later join it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "web servers", "targets": {"tags": ["web", "prod"]}}]},
    )
    name: Name
    targets: CriteriaBody


Revision = Annotated[int, Field(ge=1, lt=2**31, description="Refuse if it is not this one any more.")]


class SelectionPatch(Body):
    """Changes to a selection: what is left out stays as it is."""

    name: Name | None = None
    targets: CriteriaBody | None = None
    revision: Revision | None = None


class CriteriaOut(BaseModel):
    """What a selection asks of a platform: nothing where platforms were picked one by one."""

    names: list[str]
    tags: list[str]
    q: str
    state: StateFilter | None
    all: bool


class SelectionOut(BaseModel):
    """A saved selection, which all accounts share. `picked`: so many platforms were picked one by one. `revision`
    grows with every change."""

    id: UUID
    name: str
    criteria: CriteriaOut
    picked: int
    revision: int
    created_by: str
    created_at: dt.datetime
    updated_by: str
    updated_at: dt.datetime


class GoneOut(BaseModel):
    """What a selection names that is not there: names of picked platforms that were deleted, exact names that are no
    platform's, tags that no platform has."""

    platforms: list[str]
    names: list[str]
    tags: list[str]


class SelectionNowOut(SelectionOut):
    """A saved selection, what it selects now (by name), and what of it is gone."""

    platform_ids: list[UUID]
    gone: GoneOut


class JobBody(Body):
    """A job."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"type": "run_command", "targets": {"tags": ["prod"]}, "command": "uptime", "timeout": 60}
            ]
        },
    )
    type: JobType
    targets: JobTargetsBody
    command: str | None = None
    script: ScriptBody | None = None
    environment: Environment = Field(default={}, description="Kept sealed, and never on a command line.")
    key_ids: Annotated[list[UUID], Field(max_length=500)] | None = None
    timeout: Timeout | None = None
    idle_timeout: Timeout | None = Field(default=None, description="Seconds without output.")
    concurrency: Concurrency | None = None


class RerunBody(Body):
    """Which of the job's platforms to run on again. `force`: also where it may still be at work from before."""

    only: RerunOf = RerunOf.ALL
    force: StrictBool = False


class Counts(BaseModel):
    """How many of a job's tasks are in each status."""

    total: int
    pending: int
    running: int
    success: int
    failed: int
    cancelled: int
    lost: int


class JobOut(BaseModel):
    """A job."""

    id: UUID
    job_id: UUID
    type: JobType
    status: JobStatus
    targets: dict[str, Any]
    command: str | None
    parameters: dict[str, Any]
    timeout: float | None
    idle_timeout: float | None
    concurrency: int
    task_count: int
    counts: Counts
    may_still_run: int = Field(
        description="Of so many ended tasks something may still be at work on its host; testum looks there until it knows."
    )
    rerun_of: UUID | None
    created_by: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    cancel_requested_at: dt.datetime | None
    cancel_requested_by: str | None


class AcceptedOut(BaseModel):
    """A job that was accepted. `task_id` is that of its first task."""

    id: UUID
    job_id: UUID
    task_id: UUID
    status: JobStatus
    task_count: int
    message: str


class TaskOut(BaseModel):
    """A task. Of large output, `stdout` and `stderr` are the last part; `/output` has all of it. With
    `output_expired_at` it has been removed since, because it was older than output is kept."""

    id: UUID
    celery_task_id: str | None
    job_id: UUID
    type: JobType
    platform_id: UUID
    platform_name: str
    status: TaskStatus
    exit_code: int | None
    exit_signal: str | None
    result_location: str | None
    stdout: str | None
    stderr: str | None
    output_bytes: int
    output_expired_at: dt.datetime | None
    error_code: str | None
    error_message: str | None
    metadata: dict[str, Any]
    may_still_run: bool = Field(
        description="The task is over, and something of it may still be at work on its host; `metadata.termination` says "
        "what was seen there last."
    )
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    duration_seconds: float | None = Field(
        description="How long it took, measured where it ran by a clock that nobody sets; null where it was not."
    )
    created_at: dt.datetime


class LineOut(BaseModel):
    """A line of output: one stream's bytes up to a newline, or up to where the other stream breaks in. `text` is what
    a terminal would have left of it, `styles` are `[start, end, SGR parameters]` and `matches` `[start, end]` in
    characters of it. `length` is the line's in bytes; where it is long, `text` is `cut`. A line that is `open` may
    still grow. `overwritten`: it wrote over itself, as progress bars do."""

    number: int | None = Field(description="From 1; null in a `tail` before all is counted.")
    ts: dt.datetime
    stream: Literal["stdout", "stderr"]
    text: str
    styles: list[tuple[int, int, str]]
    matches: list[tuple[int, int]]
    length: int
    cut: bool
    open: bool
    overwritten: bool


class LinesOut(BaseModel):
    """Lines that follow each other. `total` is how many there are, as far as is known: all that is stored now where
    it is `complete`, all there will ever be where the output has also `ended`. With an `error_code`, what was stored
    behind them is damaged (`output_damaged`) or missing (`output_missing`)."""

    lines: list[LineOut]
    total: int
    complete: bool
    ended: bool
    progress: float = Field(description="How much of the output was counted, from 0 to 1.")
    error_code: str | None
    error_message: str | None


class PieceOut(BaseModel):
    """Bytes of one line, from byte `offset` on. `data` is the exact bytes in Base64 where `text` is not exact."""

    number: int
    offset: int
    size: int
    text: str
    data: str | None


class FoundOut(BaseModel):
    """What a search has found so far: `count` lines match among the first `searched`. `hits` are some of their
    numbers, in order, and the first of them is the `ordinal`-th of all that match. `error_code` as of lines."""

    count: int
    hits: list[int]
    ordinal: int | None
    searched: int
    complete: bool
    ended: bool
    progress: float
    error_code: str | None
    error_message: str | None


class OutputGroupOut(BaseModel):
    """Tasks that ended alike and printed the same on each stream, byte for byte. `names` are their platforms',
    folded (`web[01-40]`), and `task_id` the first of them, or the task that was asked for."""

    names: str
    count: int
    task_id: UUID
    status: TaskStatus
    exit_code: int | None
    error_code: str | None
    output_bytes: int


class OutputsOut(BaseModel):
    """A job's tasks by what they printed, the largest group first, and last those in which nothing ran. `total` is how
    many groups there are (of the status that was asked for), `largest` the task of the first of all, `pending` how
    many tasks have not ended; where it is not `complete`, the groups have `compared` tasks so far."""

    groups: list[OutputGroupOut]
    total: int
    largest: UUID | None
    pending: int
    compared: int
    complete: bool


class ChangedOut(BaseModel):
    """A line of a difference. `old` and `new` are its numbers in both streams; a `gap` stands for lines left out."""

    change: Change
    text: str
    old: int | None
    new: int | None


class StreamDifferenceOut(BaseModel):
    """How one stream differs; `whole` says that this is all of it."""

    stream: Literal["stdout", "stderr"]
    lines: list[ChangedOut]
    whole: bool


class DifferenceOut(BaseModel):
    """How the second task's output differs from the first's, for each stream that does."""

    streams: list[StreamDifferenceOut]


class AuditOut(BaseModel):
    """An audit entry."""

    id: UUID
    user: str
    action: str
    object_type: str
    object_id: str
    outcome: str
    address: str
    meta: dict[str, Any]
    timestamp: dt.datetime


class HealthOut(BaseModel):
    """Whether testum serves."""

    status: Literal["ok", "unavailable"]
    version: str
    database: Literal["ok", "unavailable"]


class LiveOut(BaseModel):
    """That the process answers."""

    status: Literal["ok"]


class ReadyOut(BaseModel):
    """Whether testum serves, and the state of each server that it leans on. `degraded`: it serves without some of
    them; what they are for waits until they are back. Of each: `read_only` where it refuses to be written to, `full` where
    it has no room. `stopping`: it finishes what is under way and takes no new work."""

    status: Literal["ok", "degraded", "unavailable", "stopping"]
    version: str
    walls: dict[str, WallState]


class WorkerOut(BaseModel):
    """A worker's process that was heard of within its lease."""

    id: str
    zones: list[str]
    version: str
    started_at: dt.datetime
    seen_at: dt.datetime
