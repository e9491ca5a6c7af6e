"""Encoded once per wire format, not per reader: what a batch of messages and a notice have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self


class Encoded:
    """Keeps its bytes by the function that made them."""

    __slots__ = ("_encoded",)

    def __init__(self) -> None:
        self._encoded: dict[Callable[[Any], bytes], bytes] = {}

    def encoded(self, encode: Callable[[Self], bytes]) -> bytes:
        """The bytes in one wire format, made at the first call."""
        data = self._encoded.get(encode)
        if data is None:
            data = self._encoded[encode] = encode(self)
        return data
