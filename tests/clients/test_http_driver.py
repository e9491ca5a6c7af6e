"""The drivers of event streams and polls alone. They replay the exchanges of conformance/http in test_clients.py."""

from typing import Any

import pytest

from trunkline.client.http_driver import PollDriver


def driver(**options: Any) -> PollDriver:
    return PollDriver(wait_s=25, random=lambda: 0.5, **options)


def only_request(effects: list[dict[str, Any]]) -> dict[str, Any]:
    [request] = [effect for effect in effects if effect["do"] == "request"]
    return request


JOIN = {"room": "a", "start": {"since": "e.0"}, "presence": False}
PAGE = {
    "next": "a=e.0",
    "messages": [],
    "gaps": [],
    "live": {
        "next": "h-1",
        "user": None,
        "member": "~m",
        "expires_at": None,
        "expires_in_ms": None,
        "retry_max_ms": 5000,
        "signals": [],
        "presence": [],
        "seen": [],
    },
}


@pytest.mark.parametrize("body", [{}, None, [], 5, "text", {**PAGE, "messages": None}, {**PAGE, "next": 1}])
def test_an_answer_that_makes_no_sense_ends_the_connection(body: object) -> None:
    poll = driver(joins=[JOIN])
    request = only_request(poll.step({"type": "start"}))
    effects = poll.step({"type": "answer", "id": request["id"], "body": body})
    assert effects[-1]["do"] == "down"
    assert effects[-1]["down"]["reason"] == "internal"
    assert poll.step({"type": "timer"}) == []


def test_an_ack_that_makes_no_sense_ends_the_connection() -> None:
    """It is published again on the next one, under the same id."""
    poll = driver(joins=[JOIN])
    poll.step({"type": "answer", "id": only_request(poll.step({"type": "start"}))["id"], "body": PAGE})
    request = only_request(
        poll.step({"type": "send", "command": {"type": "message", "room": "a", "id": "1", "data": 1}})
    )
    assert request["method"] == "POST"
    effects = poll.step({"type": "answer", "id": request["id"], "body": None})
    assert effects[-1]["down"]["reason"] == "internal"
