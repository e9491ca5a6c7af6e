"""One error, as each transport tells it; and counted."""

import json

from trunkline.access.policy import Access
from trunkline.core.limits import Limits
from trunkline.errors import RequestError, StoreUnavailable
from trunkline.observe.counters import Counters
from trunkline.testing.clock import ManualClock
from trunkline.transports import refusals


def test_each_refusal_is_told_and_counted_once() -> None:
    counters = Counters()
    access = Access(Limits(), counters, ManualClock())
    error = RequestError("rate_limited", "too many", retry_after_ms=1500)
    event = json.loads(refusals.as_event(access, error, "message", "r", "k"))
    assert event == {
        "type": "error", "about": "message", "room": "r", "id": "k",
        "code": "rate_limited", "message": "too many", "retry_after_ms": 1500,
    }  # fmt: skip
    closed = refusals.as_closed(access, error)
    assert closed.startswith(b"event: closed\ndata: {")
    answer = refusals.as_answer(access, error)
    assert (answer.status, dict(answer.headers)["Retry-After"]) == (429, "2")
    response = refusals.as_response(access, error, [("Vary", "Origin")])
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"Vary: Origin\r\n" in head
    assert json.loads(body)["error"]["code"] == "rate_limited"
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert counters.refusals == {"rate_limited": 4}


def test_an_answer_may_have_a_status_of_its_own() -> None:
    access = Access(Limits(), Counters(), ManualClock())
    assert refusals.as_answer(access, RequestError("not_found", "no"), 405).status == 405
    assert refusals.as_answer(access, StoreUnavailable("away")).status == 503
