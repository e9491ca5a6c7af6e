"""Signals: events that matter only now, such as typing or a moving pointer.

Nothing is logged, and of each (member, name) only the newest counts: one that was not delivered yet is replaced, so
a pointer that moves 60 times a second costs what readers can take, and a signal can be dropped but never queue up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from trunkline.core.json_text import check_json
from trunkline.errors import RequestError

SIGNAL_NAME = re.compile(r"[A-Za-z0-9_.:~-]{1,64}\Z")
SIGNAL_BYTES_MAX = 4096  # what does not fit is no signal: publish it
SIGNALS_BYTES_MAX = 128 * 1024  # of one room, to be sent or kept for polls: as much as one piece of messages
KEPT_S = 10.0  # for polls; a client that asks less often does not care who was typing
_DEPTH_MAX = 8
_OVERHEAD_BYTES = 256  # of a signal beside its data
T = TypeVar("T")


class Signal(msgspec.Struct, frozen=True, gc=False):
    """One signal, in the order of its fields on the wire."""

    room: str
    name: str
    sender: str | None = msgspec.field(name="from")
    member: str
    at: int
    json: msgspec.Raw = msgspec.field(name="data")


def check_signal(name: str | None, data: bytes | None) -> tuple[str, bytes]:
    """Check a signal's name and data; return them.

    Raises:
        RequestError: `bad_command`, `bad_json`, `too_large` or `too_deep`.
    """
    if name is None or SIGNAL_NAME.match(name) is None:
        raise RequestError("bad_command", "a signal has a name: 1 to 64 of A-Z a-z 0-9 _ . : ~ -")
    return name, b"null" if data is None else check_json(data, SIGNAL_BYTES_MAX, _DEPTH_MAX)


class Newest(Generic[T]):
    """One value for each (member, name), the newest. The oldest goes when all of them are too large."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[int, T]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[T]:
        """Iterate over the signals, oldest first."""
        return (value for _, value in self._kept.values())

    def put(self, signal: Signal, value: T) -> None:
        """Remember *value* for a signal."""
        key = (signal.member, signal.name)
        self._drop(key)
        size = _OVERHEAD_BYTES + len(signal.json)
        self._kept[key] = (size, value)
        self._bytes += size
        while self._bytes > SIGNALS_BYTES_MAX:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        """Forget the one that was put first."""
        self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, str]) -> None:
        self._bytes -= self._kept.pop(key, (0, None))[0]


class Signals:
    """The newest signals of one room, for polls."""

    def __init__(self) -> None:
        self._kept: Newest[tuple[int, float, Signal]] = Newest()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, signal: Signal, version: int, now: float) -> None:
        """Remember it for a while. Versions grow."""
        self._kept.put(signal, (version, now + KEPT_S, signal))

    def since(self, version: int) -> list[Signal]:
        """Return the signals after *version*, oldest first."""
        return [signal for number, _, signal in self._kept if number > version]

    def expire(self, now: float) -> None:
        """Forget signals that are older than KEPT_S."""
        for _ in [until for _, until, _ in self._kept if until <= now]:
            self._kept.drop_oldest()
