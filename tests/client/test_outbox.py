"""Drafts on their way to the server."""

from tests.client.effects import Effects
from trunkline.client.calls import Calls
from trunkline.client.outbox import BURST, Outbox
from trunkline.client.readings import Readings


def test_drafts_are_paced_and_kept_in_order() -> None:
    effects = Effects()
    outbox, readings, calls = Outbox([], 1000, lambda: 0.5, effects), Readings(effects), Calls(lambda: 0.5, effects)
    for n in range(150):
        outbox.publish({"id": str(n), "room": "r", "data": n}, closed=False)
    outbox.flush(readings, calls, 0.0)
    assert len(effects.of("send")) == BURST
    outbox.flush(readings, calls, 25.0 * 50)
    assert [effect["command"]["data"] for effect in effects.of("send")] == list(range(150))


def test_what_was_written_after_a_refused_draft_waits_with_it() -> None:
    effects = Effects()
    outbox, readings, calls = Outbox([], 1000, lambda: 0.5, effects), Readings(effects), Calls(lambda: 0.5, effects)
    for n in range(3):
        outbox.publish({"id": str(n), "room": "r", "data": n}, closed=False)
    outbox.flush(readings, calls, 0.0)
    outbox.refused({"id": "1", "room": "r", "code": "store_unavailable", "message": "away"})
    assert [(draft.id, draft.sent) for draft in outbox.drafts.values()] == [("0", True), ("1", False), ("2", False)]
    assert outbox.paused
    outbox.refused({"id": "1", "room": "r", "code": "too_large", "message": "x"})
    assert [draft.id for draft in outbox.drafts.values()] == ["0", "2"]
