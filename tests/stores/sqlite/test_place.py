"""What is found at a start, and what it means."""

from pathlib import Path

import pytest

from trunkline.stores.sqlite.place import NONE, Beside, BesideFile, Newest, Place, Recorded, place_of, went_back

HERE = Place(boot="b", device=1, inode=2, path="/log.db")
COPY = Place(boot="b", device=1, inode=2, path="/copy.db")
OTHER = Place(boot="b", device=1, inode=9, path="/log.db")
BEFORE = Place(boot="a", device=1, inode=2, path="/log.db")


@pytest.mark.parametrize(
    ("recorded", "beside", "durable", "why"),
    [
        (Recorded(None, 0, stopped=False), None, False, None),
        (Recorded(None, 0, stopped=False), Beside(3), False, "earlier version"),
        (Recorded(HERE, 3, stopped=True), Beside(3, 10), False, None),
        (Recorded(HERE, 3, stopped=True), Beside(3, 11), False, "changed after it was closed"),
        (Recorded(HERE, 2, stopped=True), Beside(3, 10), False, "older"),
        (Recorded(HERE, 3, stopped=True, has_newest=False), Beside(3, 10), False, "older"),
        (Recorded(HERE, 3, stopped=True), None, False, "missing"),
        (Recorded(COPY, 3, stopped=True), Beside(3), False, "/copy.db"),
        (
            Recorded(OTHER, 3, stopped=True),
            Beside(3),
            False,
            "another file",
        ),
        (Recorded(HERE, 3, stopped=False), Beside(3), False, None),
        (Recorded(BEFORE, 3, stopped=False), Beside(3), False, "booted"),
        (Recorded(BEFORE, 3, stopped=False), Beside(3), True, None),
    ],
)
def test_evidence_that_a_log_went_back(
    recorded: Recorded, beside: Beside | None, durable: bool, why: str | None
) -> None:
    found = went_back(recorded, beside, HERE, changed_ns=10, durable=durable)
    assert (found is None) is (why is None)
    assert why is None or (found is not None and why in found)


def test_the_file_beside_the_log(tmp_path: Path) -> None:
    """Two texts, written at different times; nonsense says nothing."""
    path = tmp_path / "log.db-place"
    beside = BesideFile(path)
    assert (beside.read(), beside.read_newest()) == (None, NONE)
    beside.write_newest(Newest(3, 7))
    beside.write(Beside(5, 9), flush=True)
    assert (beside.read(), beside.read_newest()) == (Beside(5, 9), Newest(3, 7))
    beside.close()
    path.write_text("x" * 500)
    again = BesideFile(path)
    assert (again.read(), again.read_newest()) == (None, NONE)
    again.close()


def test_a_place_is_a_file_not_a_name(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_text("")
    before = place_of(path)
    path.rename(tmp_path / "old")
    path.write_text("")
    assert before.path == place_of(path).path
    assert before.inode != place_of(path).inode
