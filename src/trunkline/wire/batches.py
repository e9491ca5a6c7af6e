"""Batches and notifications in every format in which readers get them.

Fan-out keeps the bytes under the function that encoded them, so what many readers are sent is encoded once.
"""

from __future__ import annotations

from collections.abc import Callable

from trunkline.core.batch import Batch, Notification
from trunkline.wire import sse
from trunkline.wire.envelope import message_events, notification_events
from trunkline.wire.websocket import Opcode, data_frame, frame


def text_frames(batch: Batch) -> bytes:
    """Encode a batch as WebSocket frames."""
    return b"".join([frame(Opcode.TEXT, event) for event in message_events(batch)])


def texts(batch: Batch) -> list[str]:
    """Encode a batch as the texts of WebSocket messages, for servers that make the frames."""
    return [event.decode() for event in message_events(batch)]


def notification_texts(notification: Notification) -> list[str]:
    """Encode a notification as the texts of WebSocket messages."""
    return [event.decode() for event in notification_events(notification)]


def _deflating(bits: int) -> Callable[[Batch], bytes]:
    def deflated_text_frames(batch: Batch) -> bytes:
        return b"".join([data_frame(Opcode.TEXT, event, bits) for event in message_events(batch)])

    return deflated_text_frames


# Encode a batch as compressed WebSocket frames, by the bits of the window. One function for each window, so that all
# readers who agreed to the same one are sent the same bytes.
DEFLATED_TEXT_FRAMES = {bits: _deflating(bits) for bits in range(9, 16)}


def notification_frames(notification: Notification) -> bytes:
    """Encode a notification as WebSocket frames."""
    return b"".join([frame(Opcode.TEXT, event) for event in notification_events(notification)])


def sse_events(batch: Batch) -> bytes:
    """Encode a batch as events of a stream that reads one room."""
    epoch = batch.epoch
    return b"".join([sse.entry(m, f"{epoch}.{m.offset}".encode()) for m in batch.messages])


def sse_chunk(batch: Batch) -> bytes:
    """Encode a batch as events of a stream that reads one room, in an HTTP/1.1 chunk."""
    return sse.chunk(sse_events(batch))


def sse_notification(notification: Notification) -> bytes:
    """Encode a notification as events; they have no ids, because they move no position."""
    return b"".join([sse.other_event(kind.encode(), body) for kind, body in notification.events])


def sse_notification_chunk(notification: Notification) -> bytes:
    """Encode a notification as events in an HTTP/1.1 chunk."""
    return sse.chunk(sse_notification(notification))
