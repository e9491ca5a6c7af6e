"""A notice: what readers are told beside messages. It moves no position, and may be dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from trunkline.core.encoded import Encoded

Kind = Literal["signal", "presence", "seen"]


class Notice(Encoded):
    """Some events, each a kind and its JSON."""

    __slots__ = ("events",)

    def __init__(self, events: Sequence[tuple[Kind, bytes]]) -> None:
        super().__init__()
        self.events = events
