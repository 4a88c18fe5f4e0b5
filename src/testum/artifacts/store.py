"""Objects in a directory or in an S3 bucket, over obstore."""

import asyncio
import errno
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

import httpx2
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from testum.artifacts.base import StoredObject
from testum.artifacts.lifecycle import Bucket, ensure_rule
from testum.errors import ConfigurationError, StorageFull, StorageUnavailable, TestumError

if TYPE_CHECKING:
    # These names are in obstore's stubs only.
    from obstore import GetOptions
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

_PART = 8 * 1024 * 1024
"""Bytes. What is larger is uploaded in parts of this size."""
_PARTS_AT_ONCE = 4
_PAGE = 1000
"""Objects of a listing that are fetched at once; also S3's own limit."""
_DELETED_AT_ONCE = 200
"""S3 takes a thousand with one request, and may be silent until the last is gone: within the read timeout."""

_CLIENT: "ClientConfig" = {
    "connect_timeout": timedelta(seconds=5),
    # How long nothing may be heard. It also runs while a body is sent: a part must get through within it.
    "read_timeout": timedelta(seconds=30),
    "timeout": timedelta(minutes=5),
}
_RETRY: "RetryConfig" = {
    "max_retries": 5,
    "retry_timeout": timedelta(seconds=5),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}
"""Enough for a server that restarts; an outage is to be told within seconds."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

# What S3 servers answer: AWS's list of error codes, and those that MinIO, Ceph and Swift add to it.
_FULL = frozenset({"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"})
_WRONG_REGION = frozenset(
    {
        *("AuthorizationHeaderMalformed", "AuthorizationQueryParametersError"),
        *("IllegalLocationConstraintException", "InvalidLocationConstraint", "PermanentRedirect"),
    }
)


class ObjectStore:
    """See Artifacts.

    Make it in the process that uses it: obstore's threads do not live on in a forked child, where every call
    would wait for ever.
    """

    def __init__(self, place: "_Place") -> None:
        self._place = place

    @classmethod
    def local(cls, root: Path) -> "ObjectStore":
        """Objects as files under `root` (in DATA_DIR). An object cannot also be the folder of another one."""
        return cls(_Directory(root.absolute()))

    @classmethod
    def s3(
        cls,
        endpoint: str,
        access_key: str,
        secret_key: str,
        bucket: str,
        *,
        secure: bool = True,
        region: str = "us-east-1",
        encryption: Literal["", "AES256", "aws:kms"] = "",
        kms_key_id: str = "",
    ) -> "ObjectStore":
        """Objects in a bucket of an S3 server, addressed by paths (`https://endpoint/bucket/key`).

        `endpoint` is `host:port`; a scheme in front of it (`http://host:port`) overrides `secure`. Every object
        is stored with `encryption`, by the key `kms_key_id` or else the bucket's own.
        Raises ConfigurationError where a value cannot be right; no server is asked yet.
        """
        if not access_key or not secret_key:
            raise ConfigurationError(
                f"{'MINIO_SECRET_KEY' if access_key else 'MINIO_ACCESS_KEY'}: is not set. "
                "MINIO_ENDPOINT needs the credentials of an account on that server."
            )
        if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]", bucket):
            raise ConfigurationError(
                "MINIO_BUCKET: is no name for a bucket. "
                "Name it with 3 to 63 lower-case letters, digits, hyphens and single dots."
            )
        if kms_key_id and encryption != "aws:kms":
            raise ConfigurationError(
                "MINIO_KMS_KEY_ID: is used only with MINIO_ENCRYPTION=aws:kms. Set both."
            )
        return cls(
            _Bucket(
                _address(endpoint, secure=secure),
                bucket,
                _Credentials(access_key, secret_key),
                region or "us-east-1",
                encryption,
                kms_key_id,
            )
        )

    async def prepare(self) -> None:
        """See Artifacts.prepare. Any number of processes may prepare the same place at once."""
        key, data = f"checks/{secrets.token_hex(8)}", b"testum"
        with _told(self._place.misconfigured):
            await self._place.make()
            await self._place.put(key, data)
            returned = await _read(self._place.store, key, None)
            await self._place.delete([key])
            await self._place.arrange()
        if returned != data:
            # A page of another kind of server is an answer too.
            raise self._place.misconfigured(BaseError("other bytes"))

    async def put(self, key: str, data: bytes) -> None:
        """See Artifacts.put. A cancelled or failed upload of several parts leaves what was sent of it with the S3
        server, unseen: a rule of the bucket removes it (lifecycle.py)."""
        _check_key(key)
        with _told(self._place.failed):
            await self._place.put(key, data)

    async def get(self, key: str, offset: int = 0, size: int | None = None) -> bytes | None:
        """See Artifacts.get."""
        _check_key(key)
        options: GetOptions | None = None
        if size is not None:
            # Servers refuse to send no bytes at all.
            options = {"range": (offset, offset + max(size, 1))}
        elif offset:
            options = {"range": {"offset": offset}}
        try:
            return (await _read(self._place.store, key, options))[:size]
        except (BaseError, OSError) as error:
            if _beyond_end(error):
                return b""
            if self._place.absent(error):
                return None
            raise self._place.failed(error) from None

    async def delete(self, keys: Sequence[str]) -> None:
        """See Artifacts.delete."""
        for key in keys:
            _check_key(key)
        if keys:
            with _told(self._place.failed):
                await self._place.delete(keys)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """See Artifacts.list. An empty prefix is that of all objects."""
        if prefix:
            _check_key(prefix)
        with _told(self._place.failed):
            pages = obstore.list(self._place.store, prefix, chunk_size=_PAGE)
        while True:
            with _told(self._place.failed):
                page = await anext(pages, None)
            if page is None:
                return
            for found in page:
                yield StoredObject(found["path"], found["size"], found["last_modified"])

    async def check(self) -> None:
        """See Artifacts.check."""
        key, data = f"checks/{secrets.token_hex(8)}", b"testum"
        with _told(self._place.failed):
            await self._place.check()
            await self._place.put(key, data)
            returned = await _read(self._place.store, key, None)
            await self._place.delete([key])
        if returned != data:
            raise StorageUnavailable("The artifact store answers with other bytes than were stored.")


class _Place(Protocol):
    """What differs between a directory and a bucket.

    Its calls raise obstore's BaseError and OSError; `failed` and `misconfigured` say what they mean.
    """

    @property
    def store(self) -> LocalStore | S3Store:
        """obstore's client."""

    async def make(self) -> None:
        """Make the place where it is missing."""

    async def arrange(self) -> None:
        """Let the place remove by itself what is in nobody's way. It works without, too."""

    async def put(self, key: str, data: bytes) -> None:
        """Store an object so that it outlasts a power failure."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, those that are not there included."""

    async def check(self) -> None:
        """Ask for a sign of life."""

    def absent(self, error: Exception) -> bool:
        """Whether this is how the place says that there is no such object."""

    def failed(self, error: Exception) -> TestumError:
        """What to tell of an error at work."""

    def misconfigured(self, error: Exception) -> TestumError:
        """What to tell of an error at the start."""


class _Directory:
    """See _Place."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def store(self) -> LocalStore:
        """See _Place.store. The directory must be there when it is first used."""
        return LocalStore(self._root, automatic_cleanup=True)

    async def make(self) -> None:
        """See _Place.make."""
        await asyncio.to_thread(self._root.mkdir, mode=0o700, parents=True, exist_ok=True)

    async def arrange(self) -> None:
        """See _Place.arrange. There is nothing to do."""

    async def put(self, key: str, data: bytes) -> None:
        """See _Place.put."""
        # Written beside its name and then renamed: as a whole, never in parts.
        await obstore.put_async(self.store, key, data, use_multipart=False)
        await asyncio.to_thread(self._sync, key)

    def _sync(self, key: str) -> None:
        """obstore leaves it to the system when a file reaches the disk."""
        path = self._root / key
        for place in (path, *path.parents[: key.count("/") + 1]):
            try:
                handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # deleted since, and an emptied folder with it
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    async def delete(self, keys: Sequence[str]) -> None:
        """See _Place.delete."""
        for key in keys:
            try:
                # One by one: given several, obstore stops at the first that is not there.
                await obstore.delete_async(self.store, key)
            except FileNotFoundError:
                continue

    async def check(self) -> None:
        """See _Place.check."""
        if not await asyncio.to_thread(os.access, self._root, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, "it cannot be written")

    def absent(self, error: Exception) -> bool:
        """See _Place.absent."""
        return isinstance(error, FileNotFoundError)

    def failed(self, error: Exception) -> TestumError:
        """See _Place.failed."""
        number, reason = _os_error(error)
        if number in _NO_ROOM:
            return StorageFull(f"The disk under {self._root} is full. Make room there.")
        return StorageUnavailable(f"The directory {self._root} cannot be used now: {reason}.")

    def misconfigured(self, error: Exception) -> TestumError:
        """See _Place.misconfigured."""
        number, reason = _os_error(error)
        if number in _NO_ROOM:
            return self.failed(error)
        return ConfigurationError(
            f"DATA_DIR: {self._root} cannot be used: {reason}. Name a directory that may be written."
        )


@dataclass(frozen=True)
class _Credentials:
    """Given by a call and not as plain values: those would be joined by AWS_SESSION_TOKEN and others that the
    environment holds for other programs."""

    access_key: str
    secret_key: str

    def __call__(self) -> "S3Credential":
        return {"access_key_id": self.access_key, "secret_access_key": self.secret_key, "expires_at": None}


class _Bucket:
    """See _Place."""

    def __init__(
        self,
        address: str,
        name: str,
        credentials: _Credentials,
        region: str,
        encryption: str,
        kms_key_id: str,
    ) -> None:
        self._address = address
        self._name = name
        self._credentials = credentials
        self._region = region
        self._encryption = encryption
        config: S3Config = {
            # Not `endpoint`: AWS_ENDPOINT_URL_S3 of the environment would go before it.
            "aws_endpoint_url_s3": address,
            "virtual_hosted_style_request": False,
            "region": region,
        }
        if encryption:
            config["server_side_encryption"] = encryption
        if kms_key_id:
            config["sse_kms_key_id"] = kms_key_id
        self.store = S3Store(
            name,
            config=config,
            credential_provider=credentials,
            client_options={**_CLIENT, "allow_http": address.startswith("http:")},
            retry_config=_RETRY,
        )

    async def make(self) -> None:
        """See _Place.make."""
        said = ""
        for wait in (0.1, 0.4, 1.0):
            if await self._there():
                return
            said = await self._create()
            # A new bucket may be late to be seen, and another process may be about to make it (409).
            await asyncio.sleep(wait)
        if not await self._there():
            raise BaseError(said)

    async def _there(self) -> bool:
        try:
            await self.check()
        except BaseError as error:
            answer = _answer(str(error))
            if answer is None or answer.code != "NoSuchBucket":
                raise
            return False
        return True

    async def _create(self) -> str:
        """Ask for the bucket; what the server said, as obstore would tell it.

        obstore creates no buckets. But it signs any request, and PUT of the bucket itself creates it.
        """
        url = await obstore.sign_async(self.store, "PUT", "", timedelta(minutes=15))
        # Only AWS's first region takes a request that does not name the region.
        place = f"<LocationConstraint>{self._region}</LocationConstraint>"
        body = f"<CreateBucketConfiguration>{place}</CreateBucketConfiguration>"
        try:
            async with httpx2.AsyncClient(timeout=30) as client:
                response = await client.put(url, content="" if self._region == "us-east-1" else body)
        except httpx2.TransportError as error:
            # Its text may hold the signed address.
            raise BaseError(f'message: "{type(error).__name__}"') from None
        said = f"status code: {response.status_code} {response.text}"
        if response.status_code not in (200, 409):
            raise BaseError(said)
        return said

    async def arrange(self) -> None:
        """See _Place.arrange."""
        credentials = self._credentials
        await ensure_rule(
            Bucket(self._address, self._name, self._region, credentials.access_key, credentials.secret_key)
        )

    async def put(self, key: str, data: bytes) -> None:
        """See _Place.put."""
        await obstore.put_async(self.store, key, data, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE)

    async def delete(self, keys: Sequence[str]) -> None:
        """See _Place.delete."""
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            await obstore.delete_async(self.store, keys[start : start + _DELETED_AT_ONCE])

    async def check(self) -> None:
        """See _Place.check. A listing: asked for an object, a server does not say whether the bucket is there."""
        await anext(obstore.list(self.store, "checks", chunk_size=1), None)

    def absent(self, error: Exception) -> bool:
        """See _Place.absent. Not every 404: a bucket that is gone, or the page of a proxy, loses no object."""
        answer = _answer(str(error))
        return answer is not None and answer.code == "NoSuchKey"

    def failed(self, error: Exception) -> TestumError:
        """See _Place.failed."""
        server = f"The S3 server at {self._address}"
        answer = _answer(str(error))
        if answer is None:
            return StorageUnavailable(f"{server} does not answer: {_reason(str(error))}.")
        if answer.full:
            return StorageFull(f"{server} has no room left for {self._name}: {answer}. Make room there.")
        if answer.code == "NoSuchBucket":
            return StorageUnavailable(f"{server} has no bucket {self._name} any more.")
        return StorageUnavailable(f"{server} cannot be used now: it answers {answer}.")

    def misconfigured(self, error: Exception) -> TestumError:
        """See _Place.misconfigured."""
        text = str(error)
        answer = _answer(text)
        if answer is not None and answer.full:
            return self.failed(error)
        return ConfigurationError(
            self._unreachable(_reason(text)) if answer is None else self._refused(answer, text)
        )

    def _unreachable(self, reason: str) -> str:
        if reason == _NO_TLS:
            return (
                f"MINIO_SECURE: {self._address} does not speak TLS. "
                "Set it to false, and write no https:// in MINIO_ENDPOINT."
            )
        if reason == _NOT_TRUSTED:
            return (
                f"MINIO_ENDPOINT: the certificate of {self._address} is not trusted. "
                "Name the server as its certificate does, and its authority in SSL_CERT_FILE."
            )
        return (
            f"MINIO_ENDPOINT: {self._address} does not answer as an S3 server: {reason}. "
            "Correct it or start the server there, and see that MINIO_SECURE fits."
        )

    def _refused(self, answer: "_Answer", text: str) -> str:
        address, bucket, code = self._address, self._name, answer.code
        if code == "InvalidAccessKeyId":
            return f"MINIO_ACCESS_KEY: {address} does not know it. Set that of an account on that server."
        if code == "SignatureDoesNotMatch":
            return (
                f"MINIO_SECRET_KEY: {address} refuses it. "
                "Set MINIO_ACCESS_KEY and MINIO_SECRET_KEY as the server has them."
            )
        if code == "RequestTimeTooSkewed":
            return (
                f"MINIO_ENDPOINT: the clock of {address} differs from that of this machine. Set both right."
            )
        if code in _WRONG_REGION:
            named = re.search(r"<Region>([\w-]{1,64})</Region>", text)
            return (
                f"MINIO_REGION: {self._region} is not the region of {address}. "
                f"Set {named[1] if named else 'the one that holds the bucket'}."
            )
        if code == "InvalidBucketName":
            return f"MINIO_BUCKET: {address} takes {bucket} for no name of a bucket. Choose another one."
        if code and answer.status == 409:
            return f"MINIO_BUCKET: {bucket} is somebody else's on {address}. Choose another name."
        if code and (answer.status == 403 or code == "AccessDenied"):
            return (
                f"MINIO_BUCKET: {bucket} on {address} may not be used ({code}). It is somebody else's, or the account "
                "of MINIO_ACCESS_KEY needs the right to make it, and to list, read, write and delete in it."
            )
        if self._encryption and code and answer.status in (400, 501):
            return (
                f"MINIO_ENCRYPTION: {address} cannot store with {self._encryption} ({code}). "
                "Set the server up for it, or leave it empty."
            )
        if answer.status == 400 and not code and "https" in text.lower().replace(address, ""):
            return f"MINIO_SECURE: {address} speaks TLS only. Set it to true, and write no http:// in MINIO_ENDPOINT."
        return (
            f"MINIO_ENDPOINT: {address} does not answer as an S3 server should: {answer}. "
            "Correct it, or look into that server's log."
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer of a server that refuses: the HTTP status (200 where only single objects could not be deleted) and
    S3's code, empty where it speaks no S3."""

    status: int
    code: str

    @property
    def full(self) -> bool:
        """Whether it has no room."""
        return self.status == 507 or self.code in _FULL

    def __str__(self) -> str:
        return f"HTTP {self.status}" + (f" {self.code}" if self.code else "")


_NO_TLS = "it does not speak TLS"
_NOT_TRUSTED = "its certificate is not trusted"
_REASONS = (
    ("InvalidCertificate", _NOT_TRUSTED),
    ("InvalidMessage", _NO_TLS),
    ("tls handshake eof", _NO_TLS),
    ("dns error", "its name is not known"),
    ("kind: Timeout", "nothing is heard in time"),
    ("IncompleteMessage", "it closes the connection"),
)


def _answer(text: str) -> _Answer | None:
    """The answer in the text of an error: obstore tells it nowhere else. None: there was none."""
    if "redirect without LOCATION" in text:
        return _Answer(301, "PermanentRedirect")
    undeleted = re.search(r"DeleteFailed \{.*?code: \"(\w{1,64})\"", text, re.DOTALL)
    if undeleted:
        return _Answer(200, undeleted[1])
    status = re.search(r"status code: (\d{3})", text)
    if status is None:
        return None
    code = re.search(r"<Code>(\w{1,64})</Code>", text)
    return _Answer(int(status[1]), code[1] if code else "")


def _reason(text: str) -> str:
    """Why there was no answer, in a few words. Never the text itself, which shows the signed request."""
    for mark, reason in _REASONS:
        if mark in text:
            return reason
    system = re.search(r'message: "([\w ]{1,80})"', text)
    return system[1] if system else "its answer is not understood"


def _os_error(error: Exception) -> tuple[int, str]:
    """The number and the words of the system's error that is in an error of obstore or is one itself."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno, error.strerror or "unknown"
    number = re.search(r"\(os error (\d+)\)|\bcode: (\d+)", str(error))
    if number is None:
        return 0, "it is not understood why"
    found = int(number[1] or number[2])
    return found, os.strerror(found)


def _beyond_end(error: Exception) -> bool:
    text = str(error)
    answer = _answer(text)
    return "StartTooLarge" in text if answer is None else answer.status == 416


def _address(endpoint: str, *, secure: bool) -> str:
    """The address with its scheme. Raises ConfigurationError, without the value: it may hold a password."""
    given = endpoint if "://" in endpoint else f"{'https' if secure else 'http'}://{endpoint}"
    try:
        parts = urlsplit(given)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or not re.fullmatch(r"\w+://[A-Za-z0-9._:\[\]-]+/?", given):
        raise ConfigurationError(
            "MINIO_ENDPOINT: is not an address. Write host:port, or http://host:port, or https://host:port."
        )
    return f"{parts.scheme}://{parts.netloc}"


def _check_key(key: str) -> None:
    """Raises ValueError for what the stores would take in different ways; `#1` ends obstore's unfinished files."""
    if not key.isprintable() or "#" in key or not {"", ".", ".."}.isdisjoint(key.split("/")):
        raise ValueError(f"not the key of an object: {key!r}")


async def _read(store: LocalStore | S3Store, key: str, options: "GetOptions | None") -> bytes:
    return bytes(await (await obstore.get_async(store, key, options=options)).bytes_async())


@contextmanager
def _told(tell: Callable[[Exception], TestumError]) -> Iterator[None]:
    """Turn what obstore and the system raise into errors a person can act on."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise tell(error) from None
