"""A bucket of an S3 server, and what to do about what the server says."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from testum.artifacts.answers import NO_TLS, NOT_TRUSTED, Answer, answer_in, reason_in
from testum.artifacts.lifecycle import Bucket, ensure_rule, plain_client
from testum.errors import ConfigurationError, StorageFull, StorageUnavailable, TestumError

if TYPE_CHECKING:
    # These names are in obstore's stubs only.
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

_PART = 8 * 1024 * 1024
"""Bytes. What is larger is uploaded in parts of this size."""
_PARTS_AT_ONCE = 4
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


@dataclass(frozen=True)
class Credentials:
    """An account's, given by a call and not as plain values: those would be joined by AWS_SESSION_TOKEN and others that
    the environment holds for other programs."""

    access_key: str
    secret_key: str

    def __call__(self) -> "S3Credential":
        return {"access_key_id": self.access_key, "secret_access_key": self.secret_key, "expires_at": None}


class S3Bucket:
    """See Place."""

    def __init__(
        self,
        address: str,
        name: str,
        credentials: Credentials,
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
        """See Place.make."""
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
            answer = answer_in(str(error))
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
            async with plain_client(url, 30) as client:
                response = await client.put(url, content="" if self._region == "us-east-1" else body)
        except httpx2.TransportError as error:
            # Its text may hold the signed address.
            raise BaseError(f'message: "{type(error).__name__}"') from None
        said = f"status code: {response.status_code} {response.text}"
        if response.status_code not in (200, 409):
            raise BaseError(said)
        return said

    async def arrange(self) -> None:
        """See Place.arrange."""
        credentials = self._credentials
        await ensure_rule(
            Bucket(self._address, self._name, self._region, credentials.access_key, credentials.secret_key)
        )

    async def put(self, key: str, data: bytes) -> None:
        """See Place.put."""
        await obstore.put_async(self.store, key, data, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE)

    async def delete(self, keys: Sequence[str]) -> None:
        """See Place.delete."""
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            await obstore.delete_async(self.store, keys[start : start + _DELETED_AT_ONCE])

    async def check(self) -> None:
        """See Place.check. A listing: asked for an object, a server does not say whether the bucket is there."""
        await anext(obstore.list(self.store, "checks", chunk_size=1), None)

    def absent(self, error: Exception) -> bool:
        """See Place.absent. Not every 404: a bucket that is gone, or the page of a proxy, loses no object."""
        answer = answer_in(str(error))
        return answer is not None and answer.code == "NoSuchKey"

    def failed(self, error: Exception) -> TestumError:
        """See Place.failed."""
        server = f"The S3 server at {self._address}"
        answer = answer_in(str(error))
        if answer is None:
            return StorageUnavailable(f"{server} does not answer: {reason_in(str(error))}.")
        if answer.full:
            return StorageFull(f"{server} has no room left for {self._name}: {answer}. Make room there.")
        if answer.code == "NoSuchBucket":
            return StorageUnavailable(f"{server} has no bucket {self._name} any more.")
        return StorageUnavailable(f"{server} cannot be used now: it answers {answer}.")

    def misconfigured(self, error: Exception) -> TestumError:
        """See Place.misconfigured."""
        text = str(error)
        answer = answer_in(text)
        if answer is not None and answer.full:
            return self.failed(error)
        return ConfigurationError(
            self._unreachable(reason_in(text)) if answer is None else self._refused(answer, text)
        )

    def _unreachable(self, reason: str) -> str:
        if reason == NO_TLS:
            return (
                f"MINIO_SECURE: {self._address} does not speak TLS. "
                "Set it to false, and write no https:// in MINIO_ENDPOINT."
            )
        if reason == NOT_TRUSTED:
            return (
                f"MINIO_ENDPOINT: the certificate of {self._address} is not trusted. "
                "Name the server as its certificate does, and its authority in SSL_CERT_FILE."
            )
        return (
            f"MINIO_ENDPOINT: {self._address} does not answer as an S3 server: {reason}. "
            "Correct it or start the server there, and see that MINIO_SECURE fits."
        )

    def _refused(self, answer: "Answer", text: str) -> str:
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
        if answer.wrong_region:
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


def address_of(endpoint: str, *, secure: bool) -> str:
    """The address of a server, with its scheme. Raises ConfigurationError, without the value: it may hold a password."""
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
