"""What is on its way to the server. The twin of `client/src/outbox.js`.

A draft keeps its id and its place until it is acked or refused for good; every new connection sends what is left, in
order, and the id keeps it from being stored twice. Everything is paced together, calls too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from trunkline.client.calls import Calls
from trunkline.client.json_text import Json
from trunkline.client.readings import Emit, Readings
from trunkline.client.refusals import passes, pause_ms

PACE_MS = 25  # servers take 50 commands a second and 200 at once: a client stays under both
BURST = 100
INTERNAL_MAX = 5  # refusals of a draft with `internal`: then the draft itself is the reason


class _Draft:
    __slots__ = ("data", "failures", "id", "room", "sent", "trace")

    def __init__(self, draft: Json) -> None:
        self.id: str = draft["id"]
        self.room: str = draft["room"]
        self.data: Any = draft["data"]
        self.trace = {name: draft[name] for name in ("traceparent", "tracestate") if name in draft}
        self.sent = False
        self.failures = 0  # refusals with `internal`


class _Mark:
    __slots__ = ("offset", "sent")

    def __init__(self, offset: int, sent: int) -> None:
        self.offset = offset
        self.sent = sent  # what is on its way, or -1


class Outbox:
    """Drafts, signals and read marks.

    Args:
        drafts_max: How many drafts may wait.
    """

    def __init__(self, drafts: Iterable[Json], drafts_max: int, random: Callable[[], float], emit: Emit) -> None:
        self.drafts = {(draft["room"], draft["id"]): _Draft(draft) for draft in drafts}  # ids belong to rooms
        self.signals: dict[tuple[str, str], Json] = {}
        self.marks: dict[str, _Mark] = {}  # offsets that were seen and are not noted yet; one of each is on its way
        self.paused = False
        self._drafts_max = drafts_max
        self._random = random
        self._emit = emit
        self._credit = float(BURST)
        self._credit_at = 0.0

    def begin(self, joins: int, now: float) -> None:
        """Begin a connection with which so many joins were sent: they are commands, too."""
        self._credit = max(0, BURST - joins)
        self._credit_at = now

    def resend(self) -> None:
        """Send everything again that the connection before may not have brought to the server."""
        self.paused = False
        for draft in self.drafts.values():
            draft.sent = False
        for mark in self.marks.values():
            mark.sent = -1

    def flush(self, readings: Readings, calls: Calls, now: float) -> None:
        """Send what may be sent now, in order and no faster than servers permit."""
        self._credit = min(BURST, self._credit + (now - self._credit_at) / PACE_MS)
        self._credit_at = now
        readings.settle(self._spend)
        for key, signal in list(self.signals.items()):
            if not self._spend():
                break
            del self.signals[key]
            self._send("signal", **signal)
        for room, reading in readings.rooms.items():
            if not reading.counts or reading.counted or room not in readings.there:
                continue
            if not self._spend():
                break
            reading.counted = True
            self._send("unread", rooms=[room])
        calls.flush(self._spend, now)  # before the drafts: these have no time-out
        if not self.paused:
            self._flush_drafts()
            self._flush_marks()
        if self._credit < 1:
            self._emit("timer", name="flush", ms=PACE_MS)

    def _flush_drafts(self) -> None:
        for draft in self.drafts.values():
            if draft.sent:
                continue
            if not self._spend():
                break
            draft.sent = True
            self._send("message", room=draft.room, id=draft.id, data=draft.data, **draft.trace)

    def _flush_marks(self) -> None:
        for room, mark in self.marks.items():
            if mark.sent >= 0:
                continue
            if not self._spend():
                break
            mark.sent = mark.offset
            self._send("seen", room=room, offset=mark.offset)

    def _spend(self) -> bool:
        """Return whether one more command may be sent; then it counts."""
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def _send(self, kind: str, **more: Any) -> None:
        self._emit("send", command={"type": kind, **more})

    # Drafts.

    def publish(self, draft: Json, *, closed: bool) -> bool:
        """Take a draft; return whether it is new."""
        if (draft["room"], draft["id"]) in self.drafts:
            return False  # it is on its way already
        if closed or len(self.drafts) >= self._drafts_max:
            message = "the client is closed" if closed else f"{self._drafts_max} messages wait already"
            code = "closed" if closed else "outbox_full"
            self._emit("refused", error={"id": draft["id"], "room": draft["room"], "code": code, "message": message})
            return False
        self.drafts[draft["room"], draft["id"]] = _Draft(draft)
        self._keep()
        return True

    def acked(self, ack: Json) -> None:
        """Note that a draft is stored."""
        if self.drafts.pop((ack["room"], ack["id"]), None) is not None:
            self._keep()
            self._emit("stored", receipt=ack)

    def refused(self, error: Json) -> None:
        """Note that a draft was refused, for now or for good."""
        draft = self.drafts.get((error.get("room"), error["id"]))
        if draft is None:
            return
        if passes(error):
            # Drafts that were written after it wait with it, so that they do not overtake it; or they go on without it,
            # if it is refused for good.
            found = False
            for later in self.drafts.values():
                found = found or later is draft
                if found:
                    later.sent = False
            self.pause(error)
            draft.failures += error["code"] == "internal"
            if draft.failures < INTERNAL_MAX:
                return
        del self.drafts[draft.room, draft.id]
        self._keep()
        self._emit("refused", error=error)

    def refuse_all(self, text: str) -> None:
        """Refuse all drafts: the client is closed."""
        for draft in self.drafts.values():
            message = f"not known to be stored: {text}"
            self._emit("refused", error={"id": draft.id, "room": draft.room, "code": "closed", "message": message})
        self.drafts.clear()
        self._keep()

    def pause(self, error: Json) -> None:
        """Send no drafts and marks for a while."""
        self.paused = True
        self._emit("timer", name="resend", ms=pause_ms(error, self._random))

    def _keep(self) -> None:
        self._emit("outbox", waiting=len(self.drafts))

    # Read marks.

    def seen(self, room: str, offset: int) -> None:
        """Note that a room was seen up to *offset*."""
        mark = self.marks.get(room)
        self.marks[room] = _Mark(offset, mark.sent if mark is not None else -1)

    def noted(self, room: str) -> bool:
        """Note that the mark that was on its way has arrived; return whether a newer one is to be sent."""
        mark = self.marks.get(room)
        if mark is None or mark.sent < 0:
            return False
        if mark.sent == mark.offset:
            del self.marks[room]
            return False
        mark.sent = -1
        return True

    def mark_again(self, room: str, error: Json) -> bool:
        """Note that the mark could not be stored now; return whether there is one."""
        mark = self.marks.get(room)
        if mark is None:
            return False
        mark.sent = -1
        self.pause(error)
        return True
