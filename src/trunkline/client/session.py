"""A client without sockets, clocks, timers or randomness: inputs in, effects out. The twin of `client/src/session.js`.

Both replay the exchanges of `conformance/`, step by step: what one of them does, the other does too. Inputs and effects
are therefore plain JSON objects, as those files have them. A session has four parts: the connection (link.py), the
rooms that are read (readings.py), what is on its way to the server (outbox.py), and calls (calls.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trunkline.client.calls import Calls
from trunkline.client.json_text import Json
from trunkline.client.link import Hooks, Link
from trunkline.client.outbox import Outbox
from trunkline.client.readings import Reading, Readings
from trunkline.client.refusals import passes


class Session:
    """One client.

    Args:
        transports: Those to use, the best first.
        first: The transport that worked last time.
        has_token: Whether the application gives tokens.
        outbox: Drafts that were kept.
        outbox_max: How many drafts may wait.
        retry_max_ms: The longest pause before the next attempt to connect; None leaves it to the server.
        random: Returns a number from 0 to 1.
    """

    def __init__(
        self,
        transports: Sequence[str],
        *,
        first: str | None = None,
        has_token: bool = False,
        outbox: Iterable[Json] = (),
        outbox_max: int = 1000,
        retry_max_ms: float | None = None,
        random: Callable[[], float],
    ) -> None:
        self._effects: list[Json] = []
        self._readings = Readings(self._emit)
        self._out = Outbox(outbox, outbox_max, random, self._emit)
        self._calls = Calls(random, self._emit)
        self._link = Link(
            transports,
            first=first,
            has_token=has_token,
            retry_max_ms=retry_max_ms,
            random=random,
            emit=self._emit,
            hooks=Hooks(self._opened, self._lost, self._farewell, self._closed),
        )

    @property
    def state(self) -> str:
        """`idle`, `connecting`, `online`, `waiting` or `closed`."""
        return self._link.state

    @property
    def transport(self) -> str:
        """The transport that is used, or tried."""
        return self._link.transport

    @property
    def rooms(self) -> dict[str, Reading]:
        """The rooms that are read."""
        return self._readings.rooms

    @property
    def waiting(self) -> int:
        """How many messages wait for their acks."""
        return len(self._out.drafts)

    def name_of_call(self, call_id: str) -> str | None:
        """Return the name of the call that has this id and waits; None if there is none."""
        call = self._calls.waiting.get(call_id)
        return call.name if call is not None else None

    def step(self, given: Json, now: float) -> list[Json]:
        """Take one input at a time; carry the effects out in order.

        Args:
            now: ms on any clock that goes on while the machine sleeps.
        """
        self._link.now = now
        self._effects = []
        kind, link, readings = given["type"], self._link, self._readings
        if kind == "start":
            link.start()
        elif kind == "close":
            link.close("close", "closed by the application")
        elif kind == "heard":
            link.heard()
        elif kind == "join":
            readings.join(given["room"], given["options"])
            self._flush()
        elif kind == "leave":
            if readings.leave(given["room"]):
                self._flush()
        elif kind == "publish":
            if self._out.publish(given["draft"], closed=self.state == "closed"):
                self._flush()
        elif kind == "call":
            self._calls.add(given["call"], now, closed=self.state == "closed")
            self._flush()
        elif kind == "abort":
            self._calls.abort(given["id"])
            self._flush()
        elif kind == "signal":
            if self.state == "online":
                signal = {name: given[name] for name in ("room", "name", "data")}
                self._out.signals[given["room"], given["name"]] = signal
                self._flush()
        elif kind == "seen":
            self._seen(given["room"], given["offset"])
        elif kind == "count":
            self._count(given["room"])
        elif kind == "event":
            link.heard_at = now
            self._event(given["event"])
        elif kind == "down":
            link.down(given["down"])
        elif kind == "token":
            link.token(given["token"])
        elif kind == "no-token":
            link.no_token(given["text"], final=given["final"])
        elif kind == "timer":
            self._timer(given["name"])
        elif kind == "wake":
            link.wake(given["reason"], stale=given.get("stale", False))
        return self._effects

    def _emit(self, effect: str, **more: Any) -> None:
        self._effects.append({"do": effect, **more})

    def _flush(self) -> None:
        if self.state == "online" and not self._link.is_opening:
            self._out.flush(self._readings, self._calls, self._link.now)

    def _timer(self, name: str) -> None:
        if name == "resend":
            self._out.paused = False
        if name == "calls":
            self._calls.timer(self._link.now)
        if name in ("resend", "flush", "calls"):
            self._flush()
        else:
            self._link.timer(name)

    def _opened(self) -> list[Json]:
        # Also when a stream that may be good still is opened anew.
        self._calls.open(self.transport, self._link.now)
        return self._readings.open()

    def _lost(self) -> None:
        self._out.signals.clear()
        self._calls.lost(self._link.now)

    def _closed(self, text: str) -> None:
        self._out.refuse_all(text)
        self._calls.reject_all(text)

    def _farewell(self) -> None:
        for room, mark in self._out.marks.items():
            self._emit("send", command={"type": "seen", "room": room, "offset": mark.offset})
        # So that members are told at once, and not after the grace time for clients that may come back.
        for room in self._readings.there:
            self._emit("send", command={"type": "leave", "room": room})

    def _seen(self, room: str, offset: int) -> None:
        reading = self.rooms.get(room)
        if reading is not None and offset > reading.seen:
            reading.seen = offset
            self._out.seen(room, offset)
            self._flush()

    def _count(self, room: str) -> None:
        """Tell the application from now on how much of a room was not seen."""
        reading = self.rooms.get(room)
        if reading is not None and not reading.counts:
            reading.counts = True
            self._flush()

    # What the server says.

    def _event(self, event: Json) -> None:
        kind, link, readings, out = event["type"], self._link, self._readings, self._out
        if self.state == "connecting" and kind == "welcome":
            link.up()
            out.begin(len(readings.there), link.now)
        if self.state == "connecting" and kind == "error" and not event.get("room"):
            code = 4100 if event["code"] in ("unauthorized", "token_expired", "revoked") else 1011
            after_ms = event.get("retry_after_ms")
            link.down({"code": code, "reason": event["code"], "text": event["message"], "retryAfterMs": after_ms})
            return
        if self.state != "online":
            return
        if kind in ("welcome", "authenticated"):
            if kind == "welcome":
                link.opened()
                out.resend()
                self._flush()
            renew_ms = link.terms(event)
            if renew_ms is not None:
                readings.ask_again()
                self._flush()
                link.after(renew_ms, "refresh")
        elif kind == "closing":
            link.retry_after_ms = event["retry_after_ms"]
            link.wait("closing", "the server is about to stop")
        elif kind == "ack":
            out.acked(event)
        elif kind == "result":
            self._calls.answered(event)
            self._flush()
        elif kind == "error":
            if event.get("about") == "call":
                self._calls.refused(event, link.now)
                self._flush()
            elif event.get("about") == "auth":
                link.token_refused(event.get("retry_after_ms") or 0)
            elif event.get("id") is not None:
                out.refused(event)
            elif event.get("room") is not None:
                self._refused(event["room"], event)
        elif kind == "left":
            readings.left(event["room"])
        elif kind == "unread":
            for count in event["rooms"]:
                reading = self.rooms.get(count["room"])
                if reading is not None:
                    reading.seen_to = max(reading.seen_to, count["seen"])
                if out.noted(count["room"]):
                    self._flush()
                readings.tell(count["room"], event)
        elif kind != "pong" and event.get("room") is not None:
            readings.tell(event["room"], event)

    def _refused(self, room: str, error: Json) -> None:
        """Note that a command about a room was refused."""
        link, readings, out = self._link, self._readings, self._out
        about, later = error.get("about"), passes(error)
        reading, current = readings.there.get(room), readings.is_current(room)
        if current and not later and about in (None, "join", "presence"):
            readings.refuse(room, about)
        if about == "leave" and not later:
            readings.left(room)  # it was refused before this client left it
        elif about == "seen" and later and out.mark_again(room, error):
            return
        elif later and (about in ("leave", "join") or (about is None and reading is not None and not reading.joined)):
            link.away = error["code"] == "store_unavailable"
            link.wait("lost", error["message"])  # else the room would be read no more, or still be read: begin again
        else:
            if about == "seen":
                out.marks.pop(room, None)
            # Not of an earlier joining.
            known = current or (room in self.rooms and about in ("signal", "seen"))
            if known and (about == "presence" or not later):
                self._emit("tell", room=room, event=error)
