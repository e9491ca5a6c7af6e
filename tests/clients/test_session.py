"""The parts of the session alone. Together they replay the exchanges of conformance/ (test_clients.py)."""

from typing import Any

import pytest

from trunkline.client.link import TRANSITIONS, Hooks, Link
from trunkline.client.outbox import BURST, Outbox, passes
from trunkline.client.readings import Readings


class Effects(list[dict[str, Any]]):
    def __call__(self, effect: str, **more: Any) -> None:
        self.append({"do": effect, **more})

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [effect for effect in self if effect["do"] == kind]


def link(effects: Effects, *transports: str, random: float = 0.5, **options: Any) -> Link:
    hooks = Hooks(list, lambda: None, lambda: None, lambda _: None)
    settings = {"first": None, "has_token": False, "retry_max_ms": None} | options
    return Link(transports or ("websocket",), random=lambda: random, emit=effects, hooks=hooks, **settings)


def test_every_state_but_the_last_has_a_way_out() -> None:
    for state, ways in TRANSITIONS.items():
        assert bool(ways) is (state != "closed")
        assert set(ways.values()) <= set(TRANSITIONS)


def test_the_back_off_grows_up_to_its_bound() -> None:
    effects = Effects()
    made = link(effects, random=1.0)
    made.start()
    for _ in range(12):
        made.down({"reason": "network", "unreachable": True})
        made.timer("retry")
    delays = [effect["ms"] for effect in effects.of("timer") if effect["name"] == "retry"]
    assert delays[:4] == [500, 1000, 2000, 4000]
    assert set(delays[4:]) == {5000}


def test_another_transport_is_tried_when_one_does_not_get_through() -> None:
    effects = Effects()
    made = link(effects, "websocket", "sse")
    made.start()
    made.down({"reason": "http 404"})
    assert [effect["transport"] for effect in effects.of("open")] == ["websocket", "sse"]


@pytest.mark.parametrize(("code", "state"), [(1012, "waiting"), (4201, "closed"), (4100, "closed"), (1006, "waiting")])
def test_close_codes(code: int, state: str) -> None:
    made = link(Effects())
    made.start()
    made.up()
    made.down({"code": code, "reason": "x"})
    assert made.state == state


def test_a_room_that_was_left_and_joined_anew_is_told_nothing_of_before() -> None:
    effects = Effects()
    readings = Readings(effects)
    readings.join("r", {"last": 5})
    readings.open()
    readings.leave("r")
    readings.join("r", {"last": 5})
    readings.settle(lambda: True)
    assert [effect["command"]["type"] for effect in effects.of("send")] == ["leave", "join"]
    readings.tell("r", {"type": "joined", "room": "r", "epoch": "e", "head": 3})
    assert effects.of("tell") == []
    readings.left("r")
    readings.tell("r", {"type": "joined", "room": "r", "epoch": "e", "head": 3})
    assert len(effects.of("tell")) == 1


def test_a_message_is_told_once_and_moves_the_position() -> None:
    effects = Effects()
    readings = Readings(effects)
    readings.join("r", {"since": "e.4"})
    readings.open()
    for offset in (5, 5, 4, 6):
        readings.tell("r", {"type": "message", "room": "r", "offset": offset})
    assert [effect["event"]["offset"] for effect in effects.of("tell")] == [5, 6]
    assert readings.rooms["r"].start == {"since": "e.6"}


def test_drafts_are_paced_and_kept_in_order() -> None:
    effects = Effects()
    outbox, readings = Outbox([], 1000, lambda: 0.5, effects), Readings(effects)
    for n in range(150):
        outbox.publish({"id": str(n), "room": "r", "data": n}, closed=False)
    outbox.flush(readings, 0.0)
    assert len(effects.of("send")) == BURST
    outbox.flush(readings, 25.0 * 50)
    assert [effect["command"]["data"] for effect in effects.of("send")] == list(range(150))


def test_what_was_written_after_a_refused_draft_waits_with_it() -> None:
    effects = Effects()
    outbox, readings = Outbox([], 1000, lambda: 0.5, effects), Readings(effects)
    for n in range(3):
        outbox.publish({"id": str(n), "room": "r", "data": n}, closed=False)
    outbox.flush(readings, 0.0)
    outbox.refused({"id": "1", "room": "r", "code": "store_unavailable", "message": "away"})
    assert [(draft.id, draft.sent) for draft in outbox.drafts.values()] == [("0", True), ("1", False), ("2", False)]
    assert outbox.paused
    outbox.refused({"id": "1", "room": "r", "code": "too_large", "message": "x"})
    assert [draft.id for draft in outbox.drafts.values()] == ["0", "2"]
    assert passes({"code": "rate_limited"})
    assert not passes({"code": "too_large"})
