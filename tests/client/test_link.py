"""The connection of a client: states, back-off, transports and close codes."""

from typing import Any

import pytest

from tests.client.effects import Effects
from trunkline.client.link import TRANSITIONS, Hooks, Link


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
