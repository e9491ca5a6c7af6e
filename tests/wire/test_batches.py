import msgspec
import pytest

from trunkline.core.batch import Batch, Notification
from trunkline.core.message import Message
from trunkline.wire import batches
from trunkline.wire.websocket import Receiver, Text

MESSAGES = [Message("r", n, f"m{n}", None, 1, msgspec.Raw(b'"%b"' % (b"x" * 200))) for n in (1, 2)]
BATCH = Batch("e", MESSAGES)


def texts(frames: bytes, *, inflates: bool = False) -> list[bytes]:
    """What a client makes of frames: they are masked for our receiver, which takes a client's."""
    receiver, found, at = Receiver(1 << 20, inflates=inflates), [], 0
    while at < len(frames):
        size = frames[at + 1]
        head = 2 if size < 126 else 4
        length = size if size < 126 else int.from_bytes(frames[at + 2 : at + 4], "big")
        masked = bytes([frames[at], size | 0x80]) + frames[at + 2 : at + head] + bytes(4)
        found += receiver.feed(masked + frames[at + head : at + head + length])
        at += head + length
    return [event.data for event in found if isinstance(event, Text)]


@pytest.mark.parametrize("bits", [None, 9, 15])
def test_frames(bits: int | None) -> None:
    encode = batches.text_frames if bits is None else batches.DEFLATED_TEXT_FRAMES[bits]
    decoded = [msgspec.json.decode(text) for text in texts(encode(BATCH), inflates=bits is not None)]
    assert [(event["type"], event["offset"]) for event in decoded] == [("message", 1), ("message", 2)]
    if bits is not None:
        assert len(encode(BATCH)) < len(batches.text_frames(BATCH))


def test_events() -> None:
    events = batches.sse_events(BATCH)
    assert events.count(b"\n\n") == 2
    assert events.startswith(b"id: e.1\ndata: {")
    size, _, rest = batches.sse_chunk(BATCH).partition(b"\r\n")
    assert int(size, 16) == len(events)
    assert rest == events + b"\r\n"


def test_notifications_move_no_position() -> None:
    notification = Notification([("signal", b'{"room":"r"}'), ("seen", b'{"room":"r"}')])
    assert texts(batches.notification_frames(notification)) == [
        b'{"type":"signal","room":"r"}', b'{"type":"seen","room":"r"}',
    ]  # fmt: skip
    events = batches.sse_notification(notification)
    assert b"id:" not in events
    assert b"event: signal" in batches.sse_notification_chunk(notification)
