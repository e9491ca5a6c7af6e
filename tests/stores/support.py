"""What the tests of stores share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trunkline.core.message import Receipt
from trunkline.core.retention import Retention
from trunkline.errors import StoreUnavailable
from trunkline.stores.sqlite import SqliteStore


def stored(answers: Sequence[Receipt | StoreUnavailable]) -> list[Receipt]:
    """Return the receipts of messages all of which must have been stored."""
    for answer in answers:
        if isinstance(answer, StoreUnavailable):
            raise answer
    return [answer for answer in answers if isinstance(answer, Receipt)]


async def opened(path: Path, retention: Retention | None = None, **options: Any) -> SqliteStore:
    """Return a SQLite log that is started."""
    store = SqliteStore(path, retention or Retention(), **options)
    await store.start()
    return store


def files_with(folder: Path, text: str) -> list[str]:
    """Return the names of the files below a folder, which may come and go, that have a text in them."""
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(path.name)
        except FileNotFoundError:
            continue
    return found
