"""Objects in a directory or in an S3 bucket, over obstore."""

import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from testum.artifacts.answers import beyond_end
from testum.artifacts.base import StoredObject
from testum.artifacts.directory import Directory
from testum.artifacts.place import Place
from testum.artifacts.s3 import Credentials, S3Bucket, address_of
from testum.errors import ConfigurationError, StorageUnavailable, TestumError

if TYPE_CHECKING:
    # These names are in obstore's stubs only.
    from obstore import GetOptions

_PAGE = 1000
"""Objects of a listing that are fetched at once; also S3's own limit."""


class ObjectStore:
    """See Artifacts.

    Make it in the process that uses it: obstore's threads do not live on in a forked child, where every call
    would wait for ever.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    @classmethod
    def local(cls, root: Path) -> "ObjectStore":
        """Objects as files under `root` (in DATA_DIR). An object cannot also be the folder of another one."""
        return cls(Directory(root.absolute()))

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
            S3Bucket(
                address_of(endpoint, secure=secure),
                bucket,
                Credentials(access_key, secret_key),
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
            if beyond_end(error):
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
