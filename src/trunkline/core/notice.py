"""A notice: what readers are told beside messages. It moves no position, and may be dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

Kind = Literal["signal", "presence", "seen"]


class Notice:
    """Some events, each a kind and its JSON, encoded once per wire format like a batch of messages."""

    __slots__ = ("_encoded", "events")

    def __init__(self, events: Sequence[tuple[Kind, bytes]]) -> None:
        self.events = events
        self._encoded: dict[Callable[[Notice], Any], Any] = {}

    def encoded(self, encode: Callable[[Notice], Any]) -> Any:
        """The events in one wire format, made at the first call."""
        data = self._encoded.get(encode)
        if data is None:
            data = self._encoded[encode] = encode(self)
        return data
