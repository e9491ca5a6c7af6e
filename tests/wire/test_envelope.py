"""Events, commands, SSE and poll answers: shapes as PROTOCOL.md has them."""

import json

import msgspec
import pytest

from trunkline.core.batch import Batch
from trunkline.core.message import Message, Receipt
from trunkline.core.page import Page
from trunkline.core.position import Gap
from trunkline.errors import RequestError, StoreUnavailable
from trunkline.wire import envelope, poll, sse
from trunkline.wire.batches import sse_chunk, sse_events

MESSAGE = Message("r", 7, "k", "ana", 5, msgspec.Raw(b'{"text":"hi"}'))
BODY = {"room": "r", "offset": 7, "id": "k", "from": "ana", "at": 5, "data": {"text": "hi"}}
GAP = Gap("r", "e", 2, 6, "trimmed", "e.6")
GAP_BODY = {"room": "r", "epoch": "e", "from": 2, "to": 6, "reason": "trimmed", "next": "e.6"}


def test_events() -> None:
    assert json.loads(envelope.message_event(MESSAGE)) == {"type": "message", **BODY}
    assert json.loads(envelope.gap_event(GAP)) == {"type": "gap", **GAP_BODY}
    assert json.loads(envelope.joined("r", "e", 7)) == {"type": "joined", "room": "r", "epoch": "e", "head": 7}
    assert json.loads(envelope.left("r")) == {"type": "left", "room": "r"}
    assert json.loads(envelope.closing(5)) == {"type": "closing", "retry_after_ms": 5}
    receipt = {"room": "r", "epoch": "e", "offset": 7, "id": "k", "at": 5, "duplicate": False}
    assert json.loads(envelope.ack(Receipt("r", "e", 7, "k", 5, False))) == {"type": "ack", **receipt}


def test_errors() -> None:
    """What is not known is left out."""
    assert json.loads(envelope.error_event(RequestError("bad_id", "m"), "k", "r")) == {
        "type": "error", "code": "bad_id", "message": "m", "id": "k", "room": "r",
    }  # fmt: skip
    assert json.loads(envelope.error_event(StoreUnavailable("m"))) == {
        "type": "error", "code": "store_unavailable", "message": "m", "retry_after_ms": 1000,
    }  # fmt: skip
    assert json.loads(envelope.problem(RequestError("bad_id", "m"))) == {"error": {"code": "bad_id", "message": "m"}}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"nope", "bad_json"), (b"", "bad_json"), (b"\xff", "bad_json"), (b"{", "bad_json"),
        (b"[" * 100_000, "bad_command"),
        (b"{}", "bad_command"), (b"[]", "bad_command"), (b"null", "bad_command"), (b'"join"', "bad_command"),
        (b'{"type":1}', "bad_command"), (b'{"type":"join","room":1}', "bad_command"),
        (b'{"type":"join","room":"a","since":{}}', "bad_command"), (b'{"type":"a","x":' + b"[" * 100_000, "too_deep"),
    ],
)  # fmt: skip
def test_what_is_no_command(text: bytes, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        envelope.decode_command(text)
    assert caught.value.code == code


def test_unknown_fields_are_ignored() -> None:
    """A newer client may say more than we understand."""
    assert envelope.decode_command(b'{"type":"ping","shiny":{"new":[1]}}').type == "ping"


def test_event_streams() -> None:
    """One event: id, one data line, an empty line; the whole of a batch in one chunk."""
    batch = Batch("e", [MESSAGE])
    body = envelope.message_body(MESSAGE)
    assert sse_events(batch) == b"id: e.7\ndata: " + body + b"\n\n"
    chunk = sse_chunk(batch)
    size, _, rest = chunk.partition(b"\r\n")
    assert int(size, 16) == len(rest) - 2
    assert rest == sse_events(batch) + b"\r\n"
    assert sse.gap_event(GAP, b"e.6").startswith(b"event: gap\nid: e.6\ndata: {")


def test_poll_answers() -> None:
    page = Page("r", "e", 7, "e.7", GAP, [MESSAGE])
    assert json.loads(poll.encode_page(page)) == {
        "room": "r", "epoch": "e", "head": 7, "next": "e.7", "gap": GAP_BODY, "messages": [BODY],
    }  # fmt: skip
    empty = Page("s", "f", 0, "f.0", None, [])
    assert json.loads(poll.encode_pages([page, empty])) == {
        "next": "r=e.7,s=f.0", "messages": [BODY], "gaps": [GAP_BODY],
    }  # fmt: skip
