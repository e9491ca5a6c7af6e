"""What a client does, as a pure function: inputs in, effects out. The twin of `client/src/session.js`.

Both replay the exchanges of `conformance/`, step by step: what one of them does, the other does too. Inputs and effects
are therefore plain JSON objects, as those files have them; the drawing of the states stands in the JavaScript.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trunkline.client.json_text import Json
from trunkline.errors import Then, after_close

# Each state's ways out. What is not here cannot happen.
TRANSITIONS: dict[str, dict[str, str]] = {
    "idle": {"start": "connecting", "close": "closed"},
    "connecting": {
        "up": "online", "fallback": "connecting", "fail": "waiting", "refused": "closed", "close": "closed",
    },
    "online": {"lost": "waiting", "closing": "waiting", "refused": "closed", "close": "closed"},
    "waiting": {"retry": "connecting", "wake": "connecting", "refused": "closed", "close": "closed"},
    "closed": {},
}  # fmt: skip

FIRST_DELAY_MS = 500  # the ceiling of the first retry; full jitter below it
LONGEST_DELAY_MS = 5000  # unless the server says that it has more clients than can come back in that time
SPREAD_MAX_MS = 60_000
AWAY_DELAY_MS = 3000  # the longest, while somebody answers, and says that it is a matter of time
NEW_TRANSPORT_MS = 3000  # for a transport that has never worked here, so that the next one is tried in time
KNOWN_TRANSPORT_MS = 6000
PATIENCE = 3  # failures in a row before a transport that has worked is doubted
SETTLED_MS = 250  # after so long a loss is a new one, and the back-off begins anew
STABLE_MS = 15_000  # whoever lives so long was no failure
SHORT_LIVES_MAX = 3  # then something on the way does not like this transport
PING_MS = 20_000  # proxies are kept awake from both sides
PONG_MS = 10_000
PROBE_MS = 2500  # for an answer when we have reason to doubt
SILENCE_MS = 45_000  # of a stream on which the server speaks every 30 s
RESEND_MS = 1000
PACE_MS = 25  # servers take 50 commands a second and 200 at once: we stay under both
BURST = 100
REFRESH_MARGIN_MS = 30_000
REFUSED_TOKENS_MAX = 2
MOMENT_MS = 60_000  # for a token that is refused for a moment: longer than servers keep what they know of keys
FATAL_STATUS = frozenset({400, 403, 404, 405, 409, 421, 426})
TEMPORARY = frozenset({"store_unavailable", "overloaded", "shutting_down", "rate_limited", "internal", "network"})


POSITION = re.compile(r"(\w+)\.(\d+)\Z")


class _Reading:
    """A room that somebody reads."""

    def __init__(self, options: Json) -> None:
        self.options = options
        position = POSITION.match(str(options.get("since")))
        self.epoch = self.joined_epoch = position[1] if position else ""
        self.offset = int(position[2]) if position else -1
        self.seen = -1
        self.joined = False  # on this connection
        self.counts = False  # the application wants to know how much was not seen
        self.counted = False  # and has asked for it on this connection
        self.seen_to = -1  # as the server has it
        self.told = True  # the connection knows what others are to be shown of us
        self.refused = False  # the room, or who is there; asked for again with a new token, or when what we say is new

    @property
    def start(self) -> Json:
        """Where to go on."""
        if self.epoch:
            return {"since": f"{self.epoch}.{self.offset}"}
        since = self.options.get("since")
        return {"last": self.options.get("last", 50)} if since is None else {"since": since}


class _Draft:
    __slots__ = ("data", "id", "room", "sent")

    def __init__(self, draft: Json) -> None:
        self.id: str = draft["id"]
        self.room: str = draft["room"]
        self.data: Any = draft["data"]
        self.sent = False


class _Mark:
    __slots__ = ("offset", "sent")

    def __init__(self, offset: int, sent: int) -> None:
        self.offset = offset
        self.sent = sent  # what is on its way, or -1


class Session:
    """One client. The names and the order of everything are those of the JavaScript."""

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
        self.state = "idle"
        self.rooms: dict[str, _Reading] = {}
        self.outbox = {(draft["room"], draft["id"]): _Draft(draft) for draft in outbox}  # ids belong to rooms
        self._outbox_max = outbox_max
        self._signals: dict[tuple[str, str], Json] = {}
        self._marks: dict[str, _Mark] = {}  # what was seen and is not noted yet, by room; one of each is on its way
        self._transports = list(transports)
        self._index = self._transports.index(first) if first in self._transports else 0
        self._home = self._index  # where to begin again
        self._known = first is not None  # home has worked
        self._random = random
        self._has_token = has_token
        self._refused_tokens = 0
        self._refused_since = 0.0  # a token, for a moment
        self._retry_max_ms = retry_max_ms  # as the application wants it, or
        self._spread_ms: float = LONGEST_DELAY_MS  # as the server does
        self._wants_token = False
        self._failures = 0
        self._short_lives = 0
        self._retry_after_ms = 0
        self._away = False
        self._silence_ms: float = SILENCE_MS
        self._ends_at = 0.0  # the token
        self._opening = False  # a connection is, and nothing may be said to it yet
        self._paused = False
        self._credit = float(BURST)
        self._credit_at = 0.0
        self._now = 0.0
        self._up_at = 0.0
        self._heard_at = 0.0
        self._pinged_at = 0.0
        self._pong_due = 0.0
        self._there: dict[str, _Reading] = {}  # what the connection was told to read
        # Answers to `leave` that are still to come: what arrives before them is of an earlier joining.
        self._owed_lefts: dict[str, int] = {}
        self._effects: list[Json] = []

    @property
    def transport(self) -> str:
        return self._transports[self._index]

    def step(self, given: Json, now: float) -> list[Json]:
        """Take one input at a time (ms on any clock that goes on while we sleep); carry the effects out in order."""
        self._now = now
        self._effects = []
        kind = given["type"]
        if kind == "start":
            if self.state == "idle":
                self._connect("start", "starting")
        elif kind == "close":
            self._close("close", "closed by the application")
        elif kind == "heard":
            self._heard_at = now
            if self._opening:
                self._patience()  # it is slow, and gets on
        elif kind == "join":
            self._join(given["room"], given["options"])
        elif kind == "leave":
            self._leave(given["room"])
        elif kind == "publish":
            self._publish(given["draft"])
        elif kind == "signal":
            if self.state == "online":
                signal = {name: given[name] for name in ("room", "name", "data")}
                self._signals[given["room"], given["name"]] = signal
                self._flush()
        elif kind == "seen":
            self._seen(given["room"], given["offset"])
        elif kind == "count":
            self._count(given["room"])
        elif kind == "event":
            self._heard_at = now
            self._event(given["event"])
        elif kind == "down":
            self._down(given["down"])
        elif kind == "token":
            self._token(given["token"])
        elif kind == "no-token":
            self._no_token(given["text"], final=given["final"])
        elif kind == "timer":
            self._timer(given["name"])
        elif kind == "wake":
            self._wake(given["reason"])
        return self._effects

    def _do(self, effect: str, **more: Any) -> None:
        self._effects.append({"do": effect, **more})

    def _after(self, ms: float, name: str) -> None:
        self._do("timer", name=name, ms=ms)

    def _cancel(self, *names: str) -> None:
        for name in names:
            self._do("cancel", name=name)

    def _send(self, kind: str, **more: Any) -> None:
        self._do("send", command={"type": kind, **more})

    def _go(self, why: str, text: str, **more: Any) -> None:
        self.state = TRANSITIONS[self.state][why]
        change = {"state": self.state, "reason": why, "text": text, "transport": self.transport, **more}
        self._do("change", change=change)

    # Connecting.

    def _connect(self, why: str, text: str) -> None:
        self._go(why, text)
        self._cancel("retry")
        self._do("shut")
        if self._has_token:
            self._after(KNOWN_TRANSPORT_MS, "connect")
            self._wants_token = True
            self._do("token")
        else:
            self._open()

    def _open(self) -> None:
        self._patience()
        self._opening = True
        self._owed_lefts.clear()
        self._there = dict(self.rooms)
        for reading in self.rooms.values():
            reading.joined = reading.refused = reading.counted = False
            reading.told = True
        self._do("open", transport=self.transport, joins=[self._join_of(room) for room in self.rooms])

    def _patience(self) -> None:
        known = self._known and self._index == self._home
        self._after(KNOWN_TRANSPORT_MS if known else NEW_TRANSPORT_MS, "connect")

    def _join_of(self, room: str) -> Json:
        reading = self.rooms[room]
        return {"room": room, "start": reading.start, "presence": reading.options.get("presence", False)}

    def _token(self, token: str) -> None:
        if not self._wants_token:
            return
        self._wants_token = False
        if self.state == "connecting":
            self._do("auth", token=token)
            self._open()
        elif self.state == "online":
            self._do("auth", token=token)

    def _no_token(self, text: str, *, final: bool) -> None:
        if not self._wants_token:
            return
        self._wants_token = False
        if final:
            self._close("refused", text, "unauthorized")
        elif self.state == "connecting":
            self._wait("fail", text)
        elif self.state == "online":
            self._after(self._delay(), "refresh")

    def _up(self) -> None:
        self._home = self._index
        self._known = True
        self._refused_tokens = 0
        self._refused_since = 0.0
        self._up_at = self._now
        self._go("up", f"connected by {self.transport}")
        self._after(STABLE_MS, "stable")
        self._after(PING_MS, "ping")
        self._credit = max(0, BURST - len(self._there))  # joins are commands, too
        self._credit_at = self._now

    def _resend(self) -> None:
        """On a new connection: whatever the one before may not have brought there."""
        self._cancel("connect")
        self._opening = False
        self._paused = False
        for draft in self.outbox.values():
            draft.sent = False
        for mark in self._marks.values():
            mark.sent = -1
        self._flush()

    def _terms(self, event: Json) -> None:
        """What the server says of its end of the connection. Times are left, for clocks differ."""
        if event.get("retry_max_ms"):
            self._spread_ms = min(SPREAD_MAX_MS, max(LONGEST_DELAY_MS, event["retry_max_ms"]))
        if "heartbeat" in event:
            self._silence_ms = max(SILENCE_MS, 1500 * event["heartbeat"]["interval_s"])
        left = event.get("expires_in_ms")
        # A stream that is opened anew has the same token: who opens often would never come to renew it.
        if self._has_token and left is not None and self._now + left > self._ends_at + 1000:
            self._ends_at = self._now + left
            for reading in self.rooms.values():
                reading.told = reading.told and not reading.refused
            self._flush()
            self._after(min(2**31 - 1, max(1000, left - min(REFRESH_MARGIN_MS, left / 2))), "refresh")

    # Losing the connection.

    def _down(self, down: Json) -> None:
        if self.state not in ("connecting", "online"):
            return
        code, status, reason = down.get("code", 1006), down.get("status", 0), down["reason"]
        text, unreachable = down.get("text") or reason, down.get("unreachable", False)
        if not status:
            then = after_close(code)
        elif status == 401:
            then = Then.REFRESH
        else:
            then = Then.GIVE_UP if status in FATAL_STATUS else Then.RETRY
        retry_after_ms = down.get("retryAfterMs") or 0
        self._retry_after_ms = max(self._retry_after_ms, retry_after_ms)
        self._away = status == 503 or code == 1013
        refused = then is Then.REFRESH and not self._may_pass(retry_after_ms)
        if refused and self._has_token:
            self._refused_tokens += 1
        if then is Then.GIVE_UP or (refused and (not self._has_token or self._refused_tokens > REFUSED_TOKENS_MAX)):
            self._close("refused", text, "unauthorized" if then is Then.REFRESH else reason)
            return
        more = self._index + 1 < len(self._transports)
        if self.state == "online":
            if self._now - self._up_at >= SETTLED_MS:
                self._failures = 0
            if not (code in (1001, 1012, 1013) or code >= 4000 or unreachable):
                self._short_lives += 1
                if self._short_lives >= SHORT_LIVES_MAX and more:
                    self._short_lives = 0
                    self._index += 1
                    self._home = self._index
                    self._known = False
            self._wait("lost", text)
            return
        # Would another transport come further? Not if nothing can, nor if the server itself said no, nor at the first
        # failures of one that has worked here: servers restart more often than networks change.
        hopeless = unreachable or status in (429, 503) or then is Then.REFRESH
        patient = self._known and self._index == self._home and self._failures < PATIENCE and reason != "timeout"
        if not hopeless and not patient and more:
            self._index += 1
            self._connect("fallback", text)
            return
        if not hopeless and not patient:
            self._home = 0
            self._known = False
        self._index = self._home
        self._wait("fail", text)

    def _may_pass(self, retry_after_ms: float) -> bool:
        """Whether the token was refused for a moment only: clocks differ, and keys take their time."""
        if not retry_after_ms or not self._has_token:
            return False
        self._refused_since = self._refused_since or self._now
        return self._now - self._refused_since < MOMENT_MS

    def _delay(self) -> int:
        """Full jitter, from the first retry on: 10,000 clients of a server that died must not come back as one."""
        longest = AWAY_DELAY_MS if self._away else self._spread_ms
        if self._retry_max_ms is not None:
            longest = self._retry_max_ms
        ceiling = min(longest, FIRST_DELAY_MS * 2 ** min(self._failures, 10))
        self._failures += 1
        self._away = False
        ms = self._retry_after_ms + self._random() * ceiling
        self._retry_after_ms = 0
        return _rounded(ms)

    def _wait(self, why: str, text: str) -> None:
        self._cancel("connect", "stable", "ping", "pong", "refresh", "flush", "resend")
        self._do("shut")
        self._opening = False
        self._ends_at = 0.0
        self._signals.clear()
        ms = self._delay()
        self._go(why, text, retryMs=ms)
        self._after(ms, "retry")

    def _close(self, why: str, text: str, reason: str | None = None) -> None:
        if self.state == "closed":
            return
        self._cancel("connect", "retry", "stable", "ping", "pong", "refresh", "flush", "resend")
        if self.state == "online":
            for room, mark in self._marks.items():
                self._send("seen", room=room, offset=mark.offset)
            # So that others are told at once, and not after the grace for those who may come back.
            for room in self._there:
                self._send("leave", room=room)
        self._do("shut")
        self._opening = False
        self._go(why, text, reason=reason or why)
        for draft in self.outbox.values():
            message = f"not known to be stored: {text}"
            self._do("refused", error={"id": draft.id, "room": draft.room, "code": "closed", "message": message})
        self.outbox.clear()
        self._keep()

    # Rooms.

    def _join(self, room: str, options: Json) -> None:
        before = self.rooms.get(room)
        if before is not None:
            before.options = {**before.options, **options}  # its place stays; what it tells of itself may be new
            before.told = False
        else:
            self.rooms[room] = _Reading(options)
        self._flush()

    def _leave(self, room: str) -> None:
        if self.rooms.pop(room, None) is not None:
            self._flush()

    def _settle(self) -> None:
        """Bring the connection to read what the application wants to read now, however it came to that."""
        for room, reading in list(self._there.items()):
            if self.rooms.get(room) is reading:
                continue
            if not self._spend():
                return
            del self._there[room]
            self._owed_lefts[room] = self._owed_lefts.get(room, 0) + 1
            self._send("leave", room=room)
        for room, reading in self.rooms.items():
            stays = room in self._there
            if reading.told and (stays or reading.refused):
                continue
            if not self._spend():
                return
            self._there[room] = reading
            reading.told = True
            reading.refused = False
            join = self._join_of(room)
            self._send("join", room=room, **({} if stays else join["start"]), presence=join["presence"])

    def _left(self, room: str) -> None:
        owed = self._owed_lefts.pop(room, 0)
        if owed > 1:
            self._owed_lefts[room] = owed - 1

    def _seen(self, room: str, offset: int) -> None:
        reading = self.rooms.get(room)
        if reading is None or offset <= reading.seen:
            return
        reading.seen = offset
        mark = self._marks.get(room)
        self._marks[room] = _Mark(offset, mark.sent if mark is not None else -1)
        self._flush()

    def _count(self, room: str) -> None:
        """From now on the application wants to know how much of a room was not seen."""
        reading = self.rooms.get(room)
        if reading is None or reading.counts:
            return
        reading.counts = True
        self._flush()

    def _noted(self, room: str) -> None:
        """What was on its way has arrived."""
        mark = self._marks.get(room)
        if mark is None or mark.sent < 0:
            return
        if mark.sent == mark.offset:
            del self._marks[room]
        else:
            mark.sent = -1
            self._flush()

    # Writing.

    def _publish(self, draft: Json) -> None:
        if (draft["room"], draft["id"]) in self.outbox:
            return  # the same again, on its way already
        closed = self.state == "closed"
        if closed or len(self.outbox) >= self._outbox_max:
            message = "the client is closed" if closed else f"{self._outbox_max} messages wait already"
            code = "closed" if closed else "outbox_full"
            self._do("refused", error={"id": draft["id"], "room": draft["room"], "code": code, "message": message})
            return
        self.outbox[draft["room"], draft["id"]] = _Draft(draft)
        self._keep()
        self._flush()

    def _flush(self) -> None:
        """Send what may be sent now, in order and no faster than servers like it."""
        if self.state != "online" or self._opening:
            return
        self._credit = min(BURST, self._credit + (self._now - self._credit_at) / PACE_MS)
        self._credit_at = self._now
        self._settle()
        for key, signal in list(self._signals.items()):
            if not self._spend():
                break
            del self._signals[key]
            self._send("signal", **signal)
        for room, reading in self.rooms.items():
            if not reading.counts or reading.counted or room not in self._there:
                continue
            if not self._spend():
                break
            reading.counted = True
            self._send("unread", rooms=[room])
        if not self._paused:
            for draft in self.outbox.values():
                if draft.sent:
                    continue
                if not self._spend():
                    break
                draft.sent = True
                self._send("message", room=draft.room, id=draft.id, data=draft.data)
            for room, mark in self._marks.items():
                if mark.sent >= 0:
                    continue
                if not self._spend():
                    break
                mark.sent = mark.offset
                self._send("seen", room=room, offset=mark.offset)
        if self._credit < 1:
            self._after(PACE_MS, "flush")

    def _spend(self) -> bool:
        """One more command, if a server would like it now."""
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def _pause(self, error: Json) -> None:
        self._paused = True
        self._after(_rounded(error.get("retry_after_ms", RESEND_MS) * (1 + self._random())), "resend")

    def _keep(self) -> None:
        self._do("outbox", waiting=len(self.outbox))

    def _refused(self, error: Json) -> None:
        draft = self.outbox.get((error.get("room"), error["id"]))
        if draft is None:
            return
        if _passes(error):
            # What was written after it waits with it, so that it does not overtake.
            found = False
            for later in self.outbox.values():
                found = found or later is draft
                if found:
                    later.sent = False
            self._pause(error)
            return
        del self.outbox[draft.room, draft.id]
        self._keep()
        self._do("refused", error=error)

    # What the server says.

    def _event(self, event: Json) -> None:
        kind = event["type"]
        if self.state == "connecting" and kind == "welcome":
            self._up()
        if self.state == "connecting" and kind == "error" and not event.get("room"):
            code = 4100 if event["code"] in ("unauthorized", "token_expired", "revoked") else 1011
            after_ms = event.get("retry_after_ms")
            self._down({"code": code, "reason": event["code"], "text": event["message"], "retryAfterMs": after_ms})
            return
        if self.state != "online":
            return
        if kind in ("welcome", "authenticated"):
            if kind == "welcome":
                self._resend()
            self._terms(event)
        elif kind == "closing":
            self._retry_after_ms = event["retry_after_ms"]
            self._wait("closing", "the server is about to stop")
        elif kind == "ack":
            if self.outbox.pop((event["room"], event["id"]), None) is not None:
                self._keep()
                self._do("stored", receipt=event)
        elif kind == "error":
            if event.get("id") is not None:
                self._refused(event)
            elif event.get("room") is not None:
                self._refused_room(event["room"], event)
        elif kind == "left":
            self._left(event["room"])
        elif kind == "unread":
            for count in event["rooms"]:
                reading = self.rooms.get(count["room"])
                if reading is not None:
                    reading.seen_to = max(reading.seen_to, count["seen"])
                self._noted(count["room"])
                self._tell(count["room"], event)
        elif kind != "pong" and event.get("room") is not None:
            self._tell(event["room"], event)

    def _refused_room(self, room: str, error: Json) -> None:
        about, passes = error.get("about"), _passes(error)
        reading, mark = self._there.get(room), self._marks.get(room)
        current = reading is not None and self.rooms.get(room) is reading and room not in self._owed_lefts
        if reading is not None and current and not passes and about in (None, "join", "presence"):
            reading.refused = True
            if about != "presence":
                del self._there[room]  # we are not in there: coming again, we say from where
        if about == "leave" and not passes:
            self._left(room)  # it was refused before we left it
        elif about == "seen" and passes and mark is not None:
            mark.sent = -1
            self._pause(error)
        elif passes and (about in ("leave", "join") or (about is None and reading is not None and not reading.joined)):
            self._away = error["code"] == "store_unavailable"
            self._wait("lost", error["message"])  # we would be deaf there, or ghosts: begin again
        else:
            if about == "seen":
                self._marks.pop(room, None)
            # Not of an earlier joining.
            known = current or (room in self.rooms and about in ("signal", "seen"))
            if known and (about == "presence" or not passes):
                self._do("tell", room=room, event=error)

    def _tell(self, room: str, event: Json) -> None:
        reading = self.rooms.get(room)
        # Not what a room is told that was left and joined anew, as long as the connection does not know of that.
        if reading is None or room in self._owed_lefts or self._there.get(room) is not reading:
            return
        kind = event["type"]
        if kind == "joined":
            # From here on we can say where we were, although nothing has come yet: "the last 50" will be elsewhere.
            since = reading.options.get("since")
            if not reading.epoch and (since in (None, "now") or not event["head"]):
                reading.epoch = event["epoch"]
                reading.offset = event["head"]
                if since is None:
                    reading.offset = max(0, event["head"] - reading.options.get("last", 50))
            reading.joined_epoch = event["epoch"]
            reading.joined = True
        elif kind == "message":
            if event["offset"] <= reading.offset:
                return  # told already
            reading.epoch = reading.joined_epoch
            reading.offset = event["offset"]
        elif kind == "gap":
            epoch, _, offset = event["next"].partition(".")
            reading.epoch = reading.joined_epoch = epoch
            reading.offset = int(offset)
        self._do("tell", room=room, event=event)
        if kind == "message" and reading.seen_to >= 0:
            head = event["offset"]
            count = {"room": room, "head": head, "seen": reading.seen_to, "unread": max(0, head - reading.seen_to)}
            self._do("tell", room=room, event={"type": "unread", "rooms": [count]})

    # Time.

    def _timer(self, name: str) -> None:
        if name == "connect":
            if self._wants_token:
                self._wants_token = False
                self._wait("fail", "getToken did not answer in time")
            else:
                self._down({"reason": "timeout", "text": f"no answer by {self.transport}"})
        elif name == "retry":
            if self.state == "waiting":
                self._connect("retry", "trying again")
        elif name == "stable":
            self._short_lives = 0
            self._do("remember", transport=self.transport)
        elif name == "ping":
            self._ping(PONG_MS)
        elif name == "pong":
            if self._heard_at >= self._pinged_at:
                return
            # If this timer itself is late, we have slept, and not the server.
            if self._now - self._pong_due > 5000:
                self._ping(PROBE_MS)
            else:
                self._down({"reason": "silence", "text": "nothing was heard from the server"})
        elif name == "refresh":
            self._ends_at = 0.0  # the application may say that the token is still good
            if self.state == "online" and not self._wants_token:
                self._wants_token = True
                self._do("token")
        elif name == "flush":
            self._flush()
        elif name == "resend":
            self._paused = False
            self._flush()

    def _ping(self, patience_ms: int) -> None:
        if self.state != "online":
            return
        self._after(PING_MS, "ping")
        if self.transport == "websocket":
            self._pinged_at = self._now
            self._pong_due = self._now + patience_ms
            self._send("ping")
            self._after(patience_ms, "pong")
        elif self._now - self._heard_at > self._silence_ms:
            self._down({"reason": "silence", "text": "nothing was heard from the server"})

    def _wake(self, reason: str) -> None:
        """The network or the machine has come back: find out at once what is left of the connection."""
        if self.state == "waiting":
            self._failures = 0
            self._connect("wake", reason)
        elif self.state == "online":
            if self.transport == "websocket":
                self._ping(PROBE_MS)
            elif self._now - self._heard_at > 3000:
                # A stream cannot be asked, but a new one costs one request and says where it stands.
                self._open()
                self._heard_at = self._now


def _passes(error: Json) -> bool:
    """Whether the same may be taken later."""
    return error["code"] in TEMPORARY or bool(error.get("retry_after_ms"))


def _rounded(ms: float) -> int:
    """As JavaScript's Math.round."""
    return int(ms + 0.5)
