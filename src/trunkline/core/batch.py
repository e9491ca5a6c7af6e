"""What is on its way to readers: encoded once for each wire format, and not once for each reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Self, TypeVar

from trunkline.core.message import Message

T = TypeVar("T")
Kind = Literal["signal", "presence", "seen"]


class _Encodable:
    """Keeps its bytes under the function that encoded them."""

    __slots__ = ("_encoded",)

    def __init__(self) -> None:
        self._encoded: dict[Callable[[Any], Any], Any] = {}

    def encoded(self, encode: Callable[[Self], T]) -> T:
        """Return it in one wire format; the first call encodes it."""
        data: T | None = self._encoded.get(encode)
        if data is None:
            data = self._encoded[encode] = encode(self)
        return data


class Batch(_Encodable):
    """Consecutive messages of one room, for one reader or for many."""

    __slots__ = ("epoch", "messages")

    def __init__(self, epoch: str, messages: Sequence[Message]) -> None:
        super().__init__()
        self.epoch = epoch
        self.messages = messages


class Notification(_Encodable):
    """Events beside the messages: signals, presence, read marks. It moves no position, and may be dropped.

    Attributes:
        events: Each event's kind and its JSON object.
    """

    __slots__ = ("events",)

    def __init__(self, events: Sequence[tuple[Kind, bytes]]) -> None:
        super().__init__()
        self.events = events
