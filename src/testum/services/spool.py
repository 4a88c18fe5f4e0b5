"""Output from far away, kept near: what was read once from the artifact store is read again from this machine's disk."""

import asyncio
import os
import tempfile
import weakref
from collections import OrderedDict
from pathlib import Path
from uuid import UUID

import structlog

log = structlog.get_logger(__name__)

_MOST_OF_ALL = 2 * 1024**3
_MOST_OF_ONE = 1024**3


class Spool:
    """The first `size` bytes of one task's encoded output, in a file without a name. It is gone with the process, or
    when nobody holds it any more."""

    def __init__(self, folder: Path) -> None:
        self._file, name = tempfile.mkstemp(prefix="output-", dir=folder if folder.is_dir() else None)
        os.unlink(name)  # noqa: PTH108 - the file lives on while it is open
        weakref.finalize(self, os.close, self._file)
        self._busy = False
        self._full = False
        self.size = 0

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`, which must be below `size`."""
        wanted = min(size, self.size - offset)
        return await asyncio.to_thread(os.pread, self._file, wanted, offset)

    async def keep(self, offset: int, data: bytes) -> None:
        """Take what was read from afar, where it is what comes next here."""
        if self._busy or self._full or offset != self.size or self.size + len(data) > _MOST_OF_ONE:
            return
        self._busy = True
        try:
            written = await asyncio.to_thread(os.pwrite, self._file, data, offset)
            self.size += written
        except OSError as error:
            # A full disk: the rest is read from afar each time.
            self._full = True
            log.warning("cannot keep output near", error=str(error))
        finally:
            self._busy = False


class Spools:
    """The spools of the tasks that were read last, in a folder, or where temporary files go if that is not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: OrderedDict[UUID, Spool] = OrderedDict()

    def of(self, task_id: UUID) -> Spool | None:
        """The task's spool; None where there can be none."""
        spool = self._held.get(task_id)
        if spool is None:
            try:
                spool = Spool(self._folder)
            except OSError as error:
                log.warning("cannot keep output near", error=str(error))
                return None
            self._held[task_id] = spool
        self._held.move_to_end(task_id)
        # Whoever reads an older one now goes on with it.
        while len(self._held) > 1 and sum(held.size for held in self._held.values()) > _MOST_OF_ALL:
            self._held.popitem(last=False)
        return spool

    def drop(self, task_id: UUID) -> None:
        """Keep nothing of the task: what was read from afar was damaged."""
        self._held.pop(task_id, None)
