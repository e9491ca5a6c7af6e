"""Signals: what matters only now. Somebody is typing, a pointer moves.

Nothing is logged, and of each (member, name) only the newest counts: one that was not delivered yet is replaced, so
a pointer that moves 60 times a second costs what readers can take, and a signal can be dropped but never queue up.
"""

from __future__ import annotations

import re

import msgspec

from trunkline.core.message import check_json
from trunkline.errors import RequestError

SIGNAL_NAME = re.compile(r"[A-Za-z0-9_.:~-]{1,64}\Z")
SIGNAL_BYTES_MAX = 4096  # what does not fit is no signal: publish it
SIGNALS_MAX = 1000  # of one room, kept for polls
KEPT_S = 10.0  # for polls; whoever asks less often does not care who was typing
_DEPTH_MAX = 8


class Signal(msgspec.Struct, frozen=True, gc=False):
    """One signal, in the order of its fields on the wire."""

    room: str
    name: str
    sender: str | None = msgspec.field(name="from")
    member: str
    at: int
    json: msgspec.Raw = msgspec.field(name="data")


def check_signal(name: str | None, data: bytes | None) -> tuple[str, bytes]:
    """A signal's name and data, if they may be one.

    Raises:
        RequestError: `bad_command`, `bad_json`, `too_large` or `too_deep`.
    """
    if name is None or SIGNAL_NAME.match(name) is None:
        raise RequestError("bad_command", "a signal has a name: 1 to 64 of A-Z a-z 0-9 _ . : ~ -")
    return name, b"null" if data is None else check_json(data, SIGNAL_BYTES_MAX, _DEPTH_MAX)


class Signals:
    """The newest signals of one room."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[int, float, Signal]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, signal: Signal, version: int, now: float) -> None:
        """Remember it for polls. Versions grow; the oldest goes if there are too many."""
        key = (signal.member, signal.name)
        self._kept.pop(key, None)
        if len(self._kept) >= SIGNALS_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (version, now + KEPT_S, signal)

    def since(self, version: int) -> list[Signal]:
        """Those after *version*, oldest first."""
        return [signal for number, _, signal in self._kept.values() if number > version]

    def expire(self, now: float) -> None:
        """Forget what nobody should act on any more."""
        while self._kept:
            key, (_, until, _) = next(iter(self._kept.items()))
            if until > now:
                return
            del self._kept[key]
