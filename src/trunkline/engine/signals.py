"""Signals: sent to the readers of a room that are up to date, and kept for a moment for clients that poll."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from trunkline.core.cluster_messages import SignalSent
from trunkline.core.cursor import Reader
from trunkline.core.signal import Newest, Signal, Signals
from trunkline.engine.clock import Clock
from trunkline.engine.cluster import Cluster
from trunkline.engine.notifier import Audience, Event, Notifier
from trunkline.wire import envelope


class _RoomSignals:
    __slots__ = ("kept", "unsent")

    def __init__(self) -> None:
        self.unsent: Newest[tuple[Signal, Reader | None]] = Newest()  # with the stream of its sender
        self.kept = Signals()


class SignalService:
    """The signals of all rooms.

    Args:
        find_stream: Returns the stream of a user's client, if it has one here.
    """

    audience: Audience = "readers"

    def __init__(
        self,
        notifier: Notifier,
        cluster: Cluster | None,
        clock: Clock,
        find_stream: Callable[[str | None, str | None], Reader | None],
    ) -> None:
        self._notifier = notifier
        self._cluster = cluster
        self._clock = clock
        self._find_stream = find_stream
        self._rooms: dict[str, _RoomSignals] = {}
        notifier.register(self)
        if cluster is not None:
            cluster.on_message(SignalSent, self._sent_elsewhere)

    def send(
        self,
        room: str,
        name: str,
        sender: str | None,
        member: str,
        json: bytes,
        origin: Reader | None = None,
        client_id: str = "",
    ) -> None:
        """Tell a room's readers.

        Args:
            sender: The user, or None.
            json: The data, checked.
            origin: The sender's own stream, which is not told; nor is another one of the client *client_id*.
        """
        signal = Signal(room, name, sender, member, self._clock.wall_ms(), msgspec.Raw(json))
        self._add(signal, origin)
        if self._cluster is not None:
            self._cluster.send(
                SignalSent, among=room, room=room, name=name, user=sender, member=member, client=client_id, json=json
            )

    def tell_here(self, room: str, name: str, json: bytes) -> None:
        """Tell the readers of one of the system's rooms that are connected to this process.

        Args:
            json: The data, checked.
        """
        self._add(Signal(room, name, None, "", self._clock.wall_ms(), msgspec.Raw(json)), None)

    def since(self, room: str, version: int) -> list[Signal]:
        """Return the signals of the last moments that are newer than *version*, oldest first."""
        signals = self._rooms.get(room)
        return [] if signals is None else signals.kept.since(version)

    def has_news(self, room: str) -> bool:
        return room in self._rooms and bool(self._rooms[room].unsent)

    def flush(self, room: str) -> Sequence[Event]:
        signals = self._rooms.get(room)
        if signals is None:
            return []
        unsent, signals.unsent = signals.unsent, Newest()
        return [Event("signal", envelope.signal_body(signal), origin) for signal, origin in unsent]

    def expire(self, room: str, now: float) -> None:
        if room in self._rooms:
            self._rooms[room].kept.expire(now)

    def is_idle(self, room: str) -> bool:
        signals = self._rooms.get(room)
        return signals is None or not (signals.unsent or signals.kept)

    def forget(self, room: str) -> None:
        self._rooms.pop(room, None)

    def close(self) -> None:
        """Forget everything."""
        self._rooms.clear()

    def _sent_elsewhere(self, sent: SignalSent) -> None:
        signal = Signal(sent.room, sent.name, sent.user, sent.member, self._clock.wall_ms(), msgspec.Raw(sent.json))
        self._add(signal, self._find_stream(sent.user, sent.client))

    def _add(self, signal: Signal, origin: Reader | None) -> None:
        subject = self._notifier.subject_if_told(signal.room)
        if subject is None:
            return  # there is nothing that could be told
        signals = self._rooms.setdefault(signal.room, _RoomSignals())
        signals.unsent.put(signal, (signal, origin))
        version = self._notifier.changed(signal.room, for_readers=True)
        now = self._clock.monotonic()
        if now < subject.polled_until:
            signals.kept.put(signal, version, now)
