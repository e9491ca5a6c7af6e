"""Participation: the rooms in which one stream is shown to the members, and those whose members it watches."""

from __future__ import annotations

from trunkline.core.batch import Notification
from trunkline.core.cursor import Reader
from trunkline.core.presence_options import PresenceOptions
from trunkline.engine.engine import Engine
from trunkline.errors import TrunklineError


class Participation:
    """What one stream takes part in.

    Args:
        stream: The stream that is told.
        member: The name under which it is shown.
        client_id: Its client's own name, or its session's.
    """

    __slots__ = ("_client_id", "_engine", "_member", "_present", "_skipped", "_stream", "watched")

    def __init__(self, engine: Engine, stream: Reader, member: str, client_id: str) -> None:
        self._engine = engine
        self._stream = stream
        self._member = member
        self._client_id = client_id
        self._present: tuple[str, ...] = ()  # rooms whose members are shown this client
        self._skipped: tuple[str, ...] = ()  # rooms of which a notification was not sent
        self.watched: tuple[str, ...] = ()

    def enter(self, room: str, options: PresenceOptions) -> None:
        """Take part in a room that is being read, as *options* say, from now on.

        Raises:
            RequestError: `too_many_members`.
        """
        presence, before = self._engine.presence, self._present
        if options.data is not None:
            presence.enter(room, self._member, self._client_id, options.data)
            self._present = (*(name for name in before if name != room), room)
        elif room in before:
            self._present = tuple(name for name in before if name != room)
        if room in before:  # the place that it held, now that it holds its place anew
            presence.leave(room, self._member, self._client_id, at_once=True)
        if options.watch:
            if room not in self.watched:
                self.watched += (room,)
            self._engine.tasks.spawn(self._tell_all(room))

    def leave(self, room: str, *, at_once: bool = True) -> None:
        """Take part in a room no longer. Harmless if it did not."""
        if room in self._present:
            self._present = tuple(name for name in self._present if name != room)
            self._engine.presence.leave(room, self._member, self._client_id, at_once=at_once)
        if room in self.watched:
            self.watched = tuple(name for name in self.watched if name != room)
            self._engine.notifier.unwatch(room, self._stream)

    def leave_all(self) -> None:
        """Take part in nothing: the connection has ended, and its client may come back within the grace time."""
        for room in {*self._present, *self.watched}:
            self.leave(room, at_once=False)

    def skipped(self, room: str) -> None:
        """Remember that the socket was full when there was something to tell of a room."""
        if room in self.watched and room not in self._skipped:
            self._skipped += (room,)

    def writable(self) -> None:
        """Tell anew what was skipped: the socket takes bytes again."""
        skipped, self._skipped = self._skipped, ()
        for room in skipped:
            self._engine.tasks.spawn(self._tell_all(room))

    async def _tell_all(self, room: str) -> None:
        try:
            snapshot: Notification = await self._engine.live.snapshot(room)
        except TrunklineError:
            return  # the log is away; readers are told of that otherwise
        if room not in self.watched:
            return
        # Only now: a change means something only to a reader that knows what it changes.
        self._engine.notifier.subject(room).watchers.add(self._stream)
        if self._stream.full:
            self.skipped(room)
        else:
            self._stream.notify(snapshot)
