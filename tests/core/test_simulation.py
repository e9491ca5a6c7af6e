"""Thousands of schedules of a small world (world.py): nothing lost, repeated or reordered (R1-R3)."""

import os
import random

import pytest

from trunkline.core.cursor import Cursor, Room
from trunkline.core.fanout import Fanout
from trunkline.core.message import Message

from . import world

SCHEDULES = int(os.environ.get("TRUNKLINE_SCHEDULES", "3000"))


def test_thousands_of_schedules() -> None:
    """Each from a seed of its own, which is named if it fails: run it alone with `world.run(seed)`."""
    first = int(os.environ.get("TRUNKLINE_SEED", random.SystemRandom().randrange(2**32)))
    seen = gaps = stalls = 0
    for seed in range(first, first + SCHEDULES):
        try:
            ended = world.run(seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed must be told
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
        seen += sum(reader.seen for reader in ended.readers)
        gaps += ended.counters.gaps.total()
        stalls += ended.counters.stalls
    # The schedules must reach what they are for.
    assert seen > 20 * SCHEDULES
    assert gaps
    assert stalls


def test_same_seed_same_world() -> None:
    """A seed that failed fails again."""
    one, other = world.run(5), world.run(5)
    assert one.acked == other.acked
    assert [r.position for r in one.readers] == [r.position for r in other.readers]


@pytest.mark.parametrize(
    "broken", ["skips a gap", "forgets a drained reader", "repeats a piece", "loses a batch", "stays behind"]
)
def test_the_world_finds_what_is_broken(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation that cannot fail is worth nothing: each of these mistakes is found."""
    give, appended = Fanout._give, Fanout.appended
    if broken == "skips a gap":

        def skip(self: Fanout, cursor: Cursor) -> None:
            cursor.offset = max(cursor.offset, cursor.room.first - 1)

        monkeypatch.setattr(Fanout, "_skip_trimmed", skip)
    elif broken == "forgets a drained reader":
        monkeypatch.setattr(Fanout, "writable", lambda self, cursor: None)
    elif broken == "repeats a piece":

        def repeat(self: Fanout, cursor: Cursor, messages: list[Message]) -> None:
            give(self, cursor, messages)
            cursor.offset -= 1

        monkeypatch.setattr(Fanout, "_give", repeat)
    elif broken == "stays behind":
        monkeypatch.setattr(Fanout, "_follow", lambda self, cursor: setattr(cursor, "epoch", cursor.room.epoch))
    else:

        def lose(self: Fanout, room: Room, messages: list[Message]) -> None:
            appended(self, room, messages)
            for cohort in room.cohorts[:1]:
                cohort.offset = room.head

        monkeypatch.setattr(Fanout, "appended", lose)

    def all_is_well() -> None:
        for seed in range(400):
            world.run(seed)

    with pytest.raises(AssertionError):
        all_is_well()
