"""Every setting of testum in one typed class, read from the environment or `.env`."""

import os
import secrets
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict

from testum.errors import ConfigurationError

_NEARLY = 0.85
"""How alike names are that may be misspelt (difflib's ratio)."""


class Settings(BaseSettings):
    """The configuration. Field names in capitals are the environment variables (SPEC, "Configuration")."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore")

    app_env: str = "production"
    data_dir: Path = Path("data")
    database_url: str = ""
    """`postgresql://user:password@host/name`; empty: SQLite under `data_dir`."""
    redis_url: str = ""
    """`redis://:password@host:6379/0`, for events between processes; empty: they stay within this one."""
    celery_broker_url: str = ""
    """The Redis that carries work to `testum worker`s; empty: this process does the work itself."""
    celery_result_backend: str = ""
    """Accepted because other tools set it. Results are in the database; no result is kept anywhere else."""
    minio_endpoint: str = ""
    """`host:port` of an S3 server, for artifacts; empty: they are files under `data_dir`."""
    minio_access_key: str = ""
    minio_secret_key: SecretStr = SecretStr("")
    minio_bucket: str = "testum"
    minio_secure: bool = True
    """Speak TLS to the S3 server."""
    minio_region: str = "us-east-1"
    minio_encryption: Literal["", "AES256", "aws:kms"] = ""
    """The server-side encryption that every object is stored with."""
    minio_kms_key_id: str = ""
    """The key for `aws:kms`, where it is not the bucket's own."""
    secret_key: SecretStr = SecretStr("")
    fernet_key: SecretStr = SecretStr("")
    admin_username: str = "admin"
    admin_password: SecretStr = SecretStr("")
    ssh_host_key_policy: Literal["auto_add", "strict"] = "auto_add"

    access_token_seconds: int = Field(default=900, ge=30, le=86_400)
    """How long an access token is good for."""
    refresh_token_seconds: int = Field(default=30 * 86_400, ge=60)
    """How long a login lasts when it is not used."""
    session_cookie_secure: bool = False
    """Set the cookie's Secure attribute also when the request came over plain HTTP (behind a proxy)."""

    public_url: str = ""
    """The address that people and browsers use, as https://testum.example.com. Set, other names are refused."""
    allowed_hosts: str = ""
    """Further names, with commas, by which it may be called."""
    trusted_proxies: str = ""
    """Addresses or networks of proxies in front, with commas, whose `X-Forwarded-For` and `-Proto` count."""

    task_concurrency: int = Field(default=32, ge=1, le=1000)
    """Tasks of one job that run at once, unless the job says otherwise."""
    worker_concurrency: int = Field(default=256, ge=1, le=4000)
    """Tasks that run at once in this process, over all jobs. Fewer where it may not have so many files open."""
    worker_processes: int = Field(default=0, ge=0, le=256)
    """Processes of one `testum worker`; 0: one for each CPU."""
    worker_queues: str = "default"
    """The network zones, with commas, that a `testum worker` serves."""
    worker_drain_seconds: float = Field(default=60, ge=0, le=86_400)
    """A worker, or a server that does the work itself, finishes what it can within so long once it is told to stop; then
    it ends the rest."""
    task_timeout_seconds: float = Field(default=3600, gt=0, le=604_800)
    """A task's total time, unless the job says otherwise."""
    connect_timeout_seconds: float = Field(default=10, gt=0, le=600)
    lease_seconds: float = Field(default=30, ge=2, le=3600)
    """A worker that has not renewed its lease for so long is taken for dead."""
    output_limit_bytes: int = Field(default=16 * 1024**3, ge=1024)
    """A task that prints more than this is ended as `output_limit`."""
    output_retention_days: float = Field(default=0, ge=0, le=36_500)
    """The output of tasks that ended longer ago is removed; the tasks stay. 0: nothing is removed."""
    ssh_idle_seconds: float = Field(default=300, ge=0, le=86_400)
    """A pooled SSH connection is closed after so long without use."""
    ssh_max_connections: int = Field(default=10_000, ge=1)
    """SSH connections of one process, idle ones with them. Fewer where it may not have so many files open."""

    @field_validator("admin_username")
    @classmethod
    def _username_is_not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value.strip()

    @field_validator("public_url")
    @classmethod
    def _public_url_is_an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        # To ask for the port raises ValueError where it is none.
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if value and (not usable or parts.path.strip("/")):
            raise ValueError("is an address without a path, such as https://testum.example.com")
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, value: str) -> str:
        # The web server would take what is none for the name of something that never comes.
        for part in value.split(","):
            address = part.strip()
            if address not in ("", "*"):
                (ip_network if "/" in address else ip_address)(address)
        return value

    @property
    def embedded_database(self) -> bool:
        """Whether SQLite under `DATA_DIR` holds the data (no `DATABASE_URL` names a server)."""
        return not self.database_url or self.database_url.startswith("sqlite")

    @property
    def own_hosts(self) -> frozenset[str]:
        """The names by which it may be called, in small letters; empty: by any."""
        named = {name.strip().strip("[]").lower() for name in self.allowed_hosts.split(",")}
        return frozenset({*named, urlsplit(self.public_url).hostname or ""} - {""})

    @property
    def cookie_secure(self) -> bool:
        """Whether the cookie goes over TLS alone, whatever the request came over."""
        return self.session_cookie_secure or self.public_url.startswith("https://")

    @property
    def worker_zones(self) -> tuple[str, ...]:
        """The network zones that a worker serves, once each."""
        return tuple(dict.fromkeys(zone.strip() for zone in self.worker_queues.split(",") if zone.strip()))

    @property
    def effective_redis_url(self) -> str:
        """The Redis that carries events; empty: there is none. Unless it is named, it is the broker's."""
        return self.redis_url or self.celery_broker_url

    @property
    def effective_database_url(self) -> str:
        """The SQLAlchemy address of the database, with its asynchronous driver."""
        if not self.database_url:
            return f"sqlite+aiosqlite:///{(self.data_dir / 'testum.db').absolute()}"
        if self.database_url.startswith("sqlite://"):
            return self.database_url.replace("sqlite://", "sqlite+aiosqlite://", 1)
        if self.database_url.startswith("postgres://"):
            # The form that libpq takes too, and some hosting services give.
            return self.database_url.replace("postgres://", "postgresql://", 1)
        return self.database_url


def read_settings() -> Settings:
    """Read the configuration, and change nothing. Raises ConfigurationError."""
    try:
        return Settings()
    except UnicodeDecodeError:
        raise ConfigurationError(".env: is not text in UTF-8. Correct it or remove it.") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]).upper()
        raise ConfigurationError(
            f"{name}: {first['msg']}. Correct it in the environment or in .env."
        ) from None


def load_settings() -> Settings:
    """Read the configuration and complete it.

    On the embedded database, missing secrets are generated once into `DATA_DIR` (mode 0600).
    Raises ConfigurationError, naming the setting and the remedy.
    """
    settings = read_settings()
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"DATA_DIR: {settings.data_dir} cannot be made: {error.strerror}. Name a directory that may be written."
        ) from None
    _keep_private(settings.data_dir)
    settings.fernet_key = _secret(settings, "FERNET_KEY", settings.fernet_key, Fernet.generate_key().decode())
    settings.secret_key = _secret(settings, "SECRET_KEY", settings.secret_key, secrets.token_urlsafe(48))
    _check_fernet_keys(settings.fernet_key.get_secret_value())
    if settings.celery_broker_url and settings.embedded_database:
        raise ConfigurationError(
            "DATABASE_URL: is not set, but CELERY_BROKER_URL is. Workers share a PostgreSQL database: name it."
        )
    if len(settings.secret_key.get_secret_value()) < 32:
        raise ConfigurationError(
            "SECRET_KEY: needs at least 32 characters. Make one with `testum generate-key`."
        )
    return settings


def misspelt() -> list[str]:
    """A sentence for each name in `.env` that is no setting, but nearly one. Other names are for others that read the file
    (Compose)."""
    named = DotEnvSettingsSource(Settings).env_vars
    if not named:
        return []
    from difflib import get_close_matches

    known = list(Settings.model_fields)
    return [
        f".env: {name.upper()} is no setting of testum and changes nothing. Is {near[0].upper()} meant?"
        for name in named
        if name.lower() not in known
        and (near := get_close_matches(name.lower(), known, 1, _NEARLY) or _shortened(name.lower(), known))
    ]


def _shortened(name: str, known: Sequence[str]) -> list[str]:
    """The settings that have all the words of a name, whole or cut, in this order; there are two at least."""
    words = name.split("_")
    return [setting for setting in known if len(words) > 1 and _has_words(setting.split("_"), words)]


def _has_words(whole: Sequence[str], words: Sequence[str]) -> bool:
    left = iter(whole)
    return all(word and any(one.startswith(word) for one in left) for word in words)


def _secret(settings: Settings, name: str, given: SecretStr, fresh: str) -> SecretStr:
    """The secret as given, or as kept in `DATA_DIR`, or `fresh`, which is then kept."""
    if given.get_secret_value():
        return given
    path = settings.data_dir / name.lower()
    if not settings.embedded_database:
        kept_there = f" (or take the one in {path}, if this installation moves)" if path.exists() else ""
        raise ConfigurationError(
            f"{name}: is not set. With DATABASE_URL every process must share it: "
            f"make one with `testum generate-key`{kept_there} and set it everywhere."
        )
    try:
        # O_EXCL: of two first starts at the same time, one writes and the other reads what it wrote.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        try:
            kept = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise ConfigurationError(
                f"{name}: {path} cannot be read: {reason}. Restore it from a backup."
            ) from None
        if not kept:
            raise ConfigurationError(f"{name}: {path} is empty. Restore it from a backup.") from None
        return SecretStr(kept)
    except OSError as error:
        raise ConfigurationError(f"DATA_DIR: {path} cannot be written: {error.strerror}.") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(fresh + "\n")
        file.flush()
        os.fsync(file.fileno())
    return SecretStr(fresh)


def _keep_private(data_dir: Path) -> None:
    """Nobody else may enter the data, or read the database and the keys in it: a directory that was there before testum may
    be open to others. Raises ConfigurationError where that cannot be mended."""
    databases = [data_dir / f"testum.db{end}" for end in ("", "-wal", "-shm")]
    for path in (
        data_dir,
        *databases,
        data_dir / "fernet_key",
        data_dir / "secret_key",
        data_dir / "artifacts",
    ):
        try:
            mode = path.stat().st_mode
            if mode & 0o077:
                path.chmod(mode & 0o700)
        except FileNotFoundError:
            continue
        except OSError as error:
            # A directory of another owner, as of a mounted volume, holds nothing but files that are testum's own.
            if path != data_dir:
                raise ConfigurationError(
                    f"DATA_DIR: others may read {path}, and that cannot be changed: {error.strerror}."
                ) from None


def _check_fernet_keys(keys: str) -> None:
    for key in keys.split(","):
        try:
            Fernet(key.strip())
        except ValueError:
            raise ConfigurationError(
                "FERNET_KEY: is not a key (32 bytes in URL-safe base64; several with commas, newest first). "
                "Make one with `testum generate-key`."
            ) from None
