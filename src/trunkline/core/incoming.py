"""A message that a client wants to publish, before the log has it: what `before_publish` gets."""

from __future__ import annotations

from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class IncomingMessage:
    """A message on its way to a room. What stands in `data` when the hook returns is what is stored.

    Attributes:
        room: Name of the room.
        id: What the client calls it, or None.
    """

    __slots__ = ("_data", "_decoded", "_json", "id", "room")

    def __init__(self, room: str, message_id: str | None, json: bytes) -> None:
        self.room = room
        self.id = message_id
        self._json = json
        self._data: Any = None
        self._decoded: bytes | None = None  # `data` as it was decoded, encoded again

    def __repr__(self) -> str:
        return f"IncomingMessage({self.room!r}, id={self.id!r})"  # a log is no place for the rest

    @property
    def data(self) -> Any:
        """The decoded data. It may be changed in place, or replaced by anything that msgspec can encode as JSON."""
        if self._decoded is None:
            self._data = _decode(self._json)
            self._decoded = _encode(self._data)
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        self._decoded = b""
        self._data = data

    def json(self) -> bytes:
        """Return the data as JSON: as the client sent it, to the byte, if it was not changed.

        Raises:
            TypeError: msgspec cannot encode it.
        """
        if self._decoded is not None:
            now = _encode(self._data)
            if now != self._decoded:
                self._json, self._decoded = now, now
        return self._json
