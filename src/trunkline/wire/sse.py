"""Server-Sent Events (HTML Living Standard, section 9.2), in HTTP/1.1 chunks (RFC 9112 section 7.1).

Every event carries `id:`, the position after it, so that a client that is cut off in the middle of a batch resumes
exactly there. `id:` alone, with no data, sets the client's last event id and dispatches nothing: so a stream that
begins at `now` can be resumed even if not one message came.
"""

from __future__ import annotations

from trunkline.core.message import Message
from trunkline.core.position import Gap
from trunkline.wire.envelope import gap_body, message_body

HEADERS = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),
    ("X-Content-Type-Options", "nosniff"),
)
KEEP_ALIVE = b":\n\n"
RETRY_MS = 2000  # what EventSource waits before it comes back; browsers add no jitter of their own


def opening(last_event_id: str) -> bytes:
    """Return what goes out at once: some bytes for buffering proxies, the retry time, and where the stream stands."""
    return b": trunkline\nretry: %d\nid: %b\n\n" % (RETRY_MS, last_event_id.encode())


def event(body: bytes, last_event_id: bytes) -> bytes:
    """Return one message under the default event type, for `onmessage`."""
    return b"id: %b\ndata: %b\n\n" % (last_event_id, body)


def other_event(kind: bytes, body: bytes) -> bytes:
    """Return an event about the stream itself. It has no id: it does not move the position."""
    return b"event: %b\ndata: %b\n\n" % (kind, body)


def entry(message: Message, last_event_id: bytes) -> bytes:
    """Return a message; or a redaction, for `addEventListener("redacted", …)`."""
    if message.redacts:
        return b"event: redacted\nid: %b\ndata: %b\n\n" % (last_event_id, message_body(message))
    return event(message_body(message), last_event_id)


def gap_event(gap: Gap, last_event_id: bytes) -> bytes:
    """Return a gap, for `addEventListener("gap", …)`."""
    return b"event: gap\nid: %b\ndata: %b\n\n" % (last_event_id, gap_body(gap))


def chunk(data: bytes) -> bytes:
    """Return *data* as one HTTP/1.1 chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
