"""The drivers of event streams and polls, replaying the exchanges of conformance/http as the JavaScript ones do."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from trunkline.client.http_driver import EventStreamDriver, PollDriver


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


@pytest.mark.parametrize("exchange", sorted((ROOT / "conformance/http").glob("*.json")), ids=lambda path: path.stem)
def test_the_same_exchanges_by_http(exchange: Path) -> None:
    """What the JavaScript drivers of event streams and polls do, the Python ones do, step by step."""
    said = json.loads(exchange.read_text("utf-8"))
    options, attempts = said["options"], itertools.count(1)
    kind = EventStreamDriver if options["transport"] == "sse" else PollDriver
    driver = kind(
        token=options.get("token", ""),
        joins=options["joins"],
        wait_s=25 if options["transport"] == "longpoll" else 0,
        poll_ms=options.get("pollMs", 2000),
        attempt=lambda: f"life.{next(attempts)}",
        random=lambda: 0.5,
    )
    for step in said["steps"]:
        assert json.loads(json.dumps(driver.step(step["input"]))) == step["effects"], step["input"]
