"""Messages that wait."""

from trunkline import Limits
from trunkline.outbox.pending import SHARDS, new_pending, shard_of


def test_the_lock_of_a_room_is_the_same_in_every_process() -> None:
    assert shard_of("orders:7") == 101
    assert {shard_of(f"room:{n}") for n in range(10_000)} == set(range(SHARDS))


def test_a_message_without_an_id_gets_one_that_no_other_has() -> None:
    ids = {new_pending("r", n, None, None, Limits()).id for n in range(100)}
    assert len(ids) == 100
