"""Scrubbing a database: what pages have between their pointers and their cells is gone, and nothing else is."""

import os
import random
import sqlite3
from pathlib import Path

from trunkline.stores.sqlite.scrub import BLOCK_PAGES, Pages

SECRET = b"4111111111111111"


def filled(path: Path, *, page_size: int) -> sqlite3.Connection:
    """A database whose pages were split in the middle, again and again, and from which the secrets were deleted."""
    chance = random.Random(page_size)
    made = sqlite3.connect(path, isolation_level=None)
    made.execute(f"PRAGMA page_size = {page_size}")
    made.execute("PRAGMA secure_delete = ON")
    made.execute("CREATE TABLE rows (key INTEGER PRIMARY KEY, data BLOB)")
    made.execute("CREATE TABLE names (name TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID")
    made.execute("CREATE TABLE empty_table (n INTEGER)")
    made.execute("BEGIN")
    for n, key in enumerate(chance.sample(range(1, 100_000), 20_000)):
        secret = n % 3 == 0
        data = SECRET * chance.randrange(1, 6) if secret else b"public" * chance.randrange(1, 20)
        made.execute("INSERT INTO rows VALUES (?, ?)", (key, data + b"x" * (page_size * 3 if n % 500 == 0 else 0)))
        name = (SECRET.decode() if secret else "public") + str(key)
        made.execute("INSERT INTO names VALUES (?, ?)", (name, n))
    made.execute("COMMIT")
    made.execute("DELETE FROM rows WHERE substr(data, 1, 8) = ?", (SECRET[:8],))
    made.execute("DELETE FROM names WHERE name LIKE ?", (SECRET.decode() + "%",))
    return made


def scrubbed(path: Path) -> int:
    """Scrub all of a database; return how many pages trees have."""
    number = os.open(path, os.O_RDWR)
    pages = Pages(number)
    raw = sqlite3.connect(path)
    roots = [root for (root,) in raw.execute("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0")]
    raw.close()
    found, first = pages.trees(roots), 1
    while first <= pages.count:
        first = pages.scrub(found, first)
    os.close(number)
    return len(found)


def test_gaps_are_empty_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    for page_size in (512, 4096, 65536):
        path = tmp_path / f"{page_size}.db"
        made = filled(path, page_size=page_size)
        before = made.execute("SELECT * FROM rows ORDER BY key").fetchall()
        names = made.execute("SELECT * FROM names ORDER BY name").fetchall()
        made.close()
        assert SECRET[:8] in path.read_bytes(), "the test needs a page with something left in its gap"
        assert scrubbed(path) > 5
        assert SECRET[:8] not in path.read_bytes()
        again = sqlite3.connect(path)
        assert again.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert again.execute("SELECT * FROM rows ORDER BY key").fetchall() == before
        assert again.execute("SELECT * FROM names ORDER BY name").fetchall() == names
        again.close()


def test_a_block_ends_within_the_file(tmp_path: Path) -> None:
    path = tmp_path / "small.db"
    sqlite3.connect(path).execute("CREATE TABLE rows (n INTEGER)").connection.close()
    number = os.open(path, os.O_RDWR)
    pages = Pages(number)
    assert (pages.size, pages.count) == (4096, 2)
    assert pages.trees([2]) == {2}
    assert pages.scrub({2}, 1) == 1 + BLOCK_PAGES
    os.close(number)
