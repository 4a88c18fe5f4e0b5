"""What the object store asks of the place where its objects are."""

from collections.abc import Sequence
from typing import Protocol

from obstore.store import LocalStore, S3Store

from testum.errors import TestumError


class Place(Protocol):
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
