"""Backups by name, into the folder that is set."""

import asyncio
from pathlib import Path

import pytest

from trunkline.core.retention import Retention
from trunkline.engine.backups import Backups
from trunkline.errors import RequestError
from trunkline.stores.memory import MemoryStore
from trunkline.testing.correction_contract import draft, stored


async def test_backups_go_into_their_folder(tmp_path: Path) -> None:
    store = MemoryStore(Retention())
    await stored(store, [draft("r", "x")])
    backups = Backups(store, tmp_path)
    done = await backups.write_named("one.db", 0)
    assert (done.path, done.rooms, done.messages) == (str(tmp_path / "one.db"), 1, 1)
    assert (await backups.write_named(None, 0)).path == str(tmp_path / "1970-01-01T00-00-00Z.db")
    both = await asyncio.gather(backups.write_named("a", 0), backups.write_named("b", 0))
    assert [found.messages for found in both] == [1, 1]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "one.db", "x" * 200, "a\0b"])
async def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "one.db").touch()
    with pytest.raises(RequestError):
        await Backups(MemoryStore(Retention()), tmp_path).write_named(name, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["one.db"]


async def test_without_a_folder_there_are_no_backups() -> None:
    with pytest.raises(RequestError, match="backup_folder"):
        await Backups(MemoryStore(Retention()), None).write_named("one.db", 0)
