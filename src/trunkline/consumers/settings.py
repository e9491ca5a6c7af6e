"""How one who runs a durable consumer wants its messages handled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from trunkline.core.message import Message
from trunkline.core.position import Gap

OnGap = Callable[[Gap], Awaitable[None] | None]
OnRedacted = Callable[[Message], Awaitable[None] | None]


class Settings(NamedTuple):
    """How a consumer handles its messages.

    Attributes:
        in_flight: How many messages, of as many rooms, may be given out and not acknowledged yet.
        ack_wait_s: After how many seconds without an acknowledgement a message counts as failed.
        tries_max: After how many failures a message is set aside.
        on_gap: Called with messages that are gone.
        on_redacted: Called with redactions, in their place among the messages.
        batch_messages, batch_bytes: How many messages, of how many bytes, `batches` gives out at once; at least one.
    """

    in_flight: int = 100
    ack_wait_s: float = 30.0
    tries_max: int = 5
    on_gap: OnGap | None = None
    on_redacted: OnRedacted | None = None
    batch_messages: int = 1
    batch_bytes: int = 256 * 1024
