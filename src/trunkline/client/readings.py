"""The rooms that the application reads, and what the connection was told to read. The twin of `readings.js`."""

from __future__ import annotations

import re
from collections.abc import Callable

from trunkline.client.json_text import Json

Emit = Callable[..., None]
"""Adds an effect: its name, and its fields as keywords."""

POSITION = re.compile(r"(\w+)\.(\d+)\Z")


class Reading:
    """A room that the application reads."""

    def __init__(self, options: Json) -> None:
        self.options = options
        position = POSITION.match(str(options.get("since")))
        self.epoch = self.joined_epoch = position[1] if position else ""
        self.offset = int(position[2]) if position else -1
        self.seen = -1  # as the application says
        self.joined = False  # on this connection
        self.counts = False  # the application wants to know how much was not seen
        self.counted = False  # and has asked for it on this connection
        self.seen_to = -1  # as the server has it
        self.told = True  # the connection knows what members are to be shown of this client
        self.refused = False  # the room, or its presence; asked for again with a new token, or other options

    @property
    def start(self) -> Json:
        """Where to go on."""
        if self.epoch:
            return {"since": f"{self.epoch}.{self.offset}"}
        since = self.options.get("since")
        return {"last": self.options.get("last", 50)} if since is None else {"since": since}


class Readings:
    """What is read, and what the connection was told to read: `settle` sends the difference."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.rooms: dict[str, Reading] = {}
        self.there: dict[str, Reading] = {}  # what the connection was told to read
        # Answers to `leave` that are still to come: what arrives before them is of an earlier joining.
        self._owed_lefts: dict[str, int] = {}

    def open(self) -> list[Json]:
        """Begin a connection with all rooms; return how each is joined."""
        self._owed_lefts.clear()
        self.there = dict(self.rooms)
        for reading in self.rooms.values():
            reading.joined = reading.refused = reading.counted = False
            reading.told = True
        return [_join_of(room, reading) for room, reading in self.rooms.items()]

    def ask_again(self) -> None:
        """Ask again for what was refused: a newer token may permit it."""
        for reading in self.rooms.values():
            reading.told = reading.told and not reading.refused

    def join(self, room: str, options: Json) -> None:
        """Read a room, or read it with other options."""
        before = self.rooms.get(room)
        if before is not None:
            before.options = {**before.options, **options}  # its place stays; its presence may be new
            before.told = False
        else:
            self.rooms[room] = Reading(options)

    def leave(self, room: str) -> bool:
        """Read a room no longer; return whether it was read."""
        return self.rooms.pop(room, None) is not None

    def settle(self, spend: Callable[[], bool]) -> None:
        """Bring the connection to read what the application wants to read now, however it came to that.

        Args:
            spend: Returns whether one more command may be sent.
        """
        for room, reading in list(self.there.items()):
            if self.rooms.get(room) is reading:
                continue
            if not spend():
                return
            del self.there[room]
            self._owed_lefts[room] = self._owed_lefts.get(room, 0) + 1
            self._emit("send", command={"type": "leave", "room": room})
        for room, reading in self.rooms.items():
            stays = room in self.there
            if reading.told and (stays or reading.refused):
                continue
            if not spend():
                return
            self.there[room] = reading
            reading.told = True
            reading.refused = False
            join = _join_of(room, reading)
            start = {} if stays else join["start"]
            self._emit("send", command={"type": "join", "room": room, **start, "presence": join["presence"]})

    def left(self, room: str) -> None:
        """Note that the server has answered a `leave`."""
        owed = self._owed_lefts.pop(room, 0)
        if owed > 1:
            self._owed_lefts[room] = owed - 1

    def is_current(self, room: str) -> bool:
        """Return whether an event about a room is of its present joining."""
        reading = self.there.get(room)
        return reading is not None and self.rooms.get(room) is reading and room not in self._owed_lefts

    def refuse(self, room: str, about: str | None) -> None:
        """Note that the server has refused a room, or its presence."""
        reading = self.there.get(room)
        if reading is not None:
            reading.refused = True
            if about != "presence":
                del self.there[room]  # it is not joined: the next join says from where

    def tell(self, room: str, event: Json) -> None:
        """Tell the application of an event, if it is of the present joining and behind the room's position."""
        reading = self.rooms.get(room)
        if reading is None or not self.is_current(room):
            return
        kind = event["type"]
        if kind == "joined":
            # From here on the position is known, although nothing has come yet: "the last 50" will be elsewhere.
            since = reading.options.get("since")
            if not reading.epoch and (since in (None, "now") or not event["head"]):
                reading.epoch = event["epoch"]
                reading.offset = event["head"]
                if since is None:
                    reading.offset = max(0, event["head"] - reading.options.get("last", 50))
            reading.joined_epoch = event["epoch"]
            reading.joined = True
        elif kind in ("message", "redacted"):
            if event["offset"] <= reading.offset:
                return  # told already
            reading.epoch = reading.joined_epoch
            reading.offset = event["offset"]
        elif kind == "gap":
            epoch, _, offset = event["next"].partition(".")
            reading.epoch = reading.joined_epoch = epoch
            reading.offset = int(offset)
        self._emit("tell", room=room, event=event)
        if kind in ("message", "redacted") and reading.seen_to >= 0:
            head = event["offset"]
            count = {"room": room, "head": head, "seen": reading.seen_to, "unread": max(0, head - reading.seen_to)}
            self._emit("tell", room=room, event={"type": "unread", "rooms": [count]})


def _join_of(room: str, reading: Reading) -> Json:
    return {"room": room, "start": reading.start, "presence": reading.options.get("presence", False)}
