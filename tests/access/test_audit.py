"""The audit log's hash of an erased user."""

from trunkline import Hub
from trunkline.access.audit import Audit
from trunkline.core.notes import AUDIT_KEY
from trunkline.hub import context_of


async def test_a_user_is_told_by_a_keyed_hash() -> None:
    """The same for the same user on every node of a log, and another one in another log."""
    hashes = []
    for _ in range(2):
        async with Hub("memory:") as hub:
            engine = context_of(hub).engine
            one, other = Audit(engine), Audit(engine)
            first = await one.hash_of("ana")
            assert first == await other.hash_of("ana") != await one.hash_of("ben")
            assert "ana" not in first
            assert len((await engine.store.notes())[AUDIT_KEY]) == 32
            hashes.append(first)
    assert hashes[0] != hashes[1]
