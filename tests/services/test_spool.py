"""Output from afar, kept near."""

from pathlib import Path
from uuid import uuid4

import pytest

from testum.services import spool as module
from testum.services.spool import Spool, Spools


async def test_what_was_read_once_is_read_from_here(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    await spool.keep(0, b"abc")
    await spool.keep(3, b"def")
    await spool.keep(9, b"a gap is not kept")
    await spool.keep(0, b"nor what is there")
    assert spool.size == 6
    assert [await spool.read(offset, 4) for offset in (0, 2, 5)] == [b"abcd", b"cdef", b"f"]
    assert list(tmp_path.iterdir()) == [], "nothing is left that a crash could leave behind"


async def test_a_spool_and_all_spools_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_OF_ONE", 5)
    monkeypatch.setattr(module, "_MOST_OF_ALL", 8)
    spools = Spools(tmp_path / "missing")
    ids = [uuid4() for _ in range(3)]
    kept = []
    for task_id in ids:
        spool = spools.of(task_id)
        assert spool is not None
        await spool.keep(0, b"1234")
        await spool.keep(4, b"56")
        assert spool.size == 4
        kept.append(spool)
    assert spools.of(ids[2]) is kept[2] and spools.of(ids[1]) is kept[1]
    assert spools.of(ids[0]) is not kept[0], "the one that was not read for longest has gone"
    assert await kept[0].read(0, 4) == b"1234", "whoever reads it goes on"
