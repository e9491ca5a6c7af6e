"""The connection: which transport, when to connect again, tokens, and whether the server is still there.

The twin of `client/src/link.js`, where the drawing of the states stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from trunkline.client.json_text import Json
from trunkline.client.readings import Emit
from trunkline.client.refusals import rounded
from trunkline.core.close_codes import Then, after_close

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
AWAY_DELAY_MS = 3000  # the longest, while the server answers, and says that it is a matter of time
NEW_TRANSPORT_MS = 3000  # for a transport that has never worked here, so that the next one is tried in time
KNOWN_TRANSPORT_MS = 6000
PATIENCE = 3  # failures in a row before a transport that has worked is doubted
SETTLED_MS = 250  # after so long a loss is a new one, and the back-off begins anew
STABLE_MS = 15_000  # a connection that lasts so long was no failure
SHORT_LIVES_MAX = 3  # then something on the way does not let this transport through
PING_MS = 20_000  # proxies are kept awake from both sides
PONG_MS = 10_000
PROBE_MS = 2500  # for an answer when there is reason to doubt
SILENCE_MS = 45_000  # of a stream on which the server speaks every 30 s
REFRESH_MARGIN_MS = 30_000
REFUSED_TOKENS_MAX = 2
MOMENT_MS = 60_000  # for a token that is refused for a moment: longer than servers keep what they know of keys
FATAL_STATUS = frozenset({400, 403, 404, 405, 409, 421, 426})


class Hooks(NamedTuple):
    """What the link calls when something is to be done about rooms and drafts.

    Attributes:
        open: Returns how rooms are joined: a connection is opened.
        lost: The connection was lost.
        farewell: The connection is about to be closed for good.
        closed: It is; called with the reason, for a person.
    """

    open: Callable[[], list[Json]]
    lost: Callable[[], None]
    farewell: Callable[[], None]
    closed: Callable[[str], None]


class Link:
    """The connection of one client. Times are ms, of the clock that `Session.step` is given."""

    def __init__(
        self,
        transports: Sequence[str],
        *,
        first: str | None,
        has_token: bool,
        retry_max_ms: float | None,
        random: Callable[[], float],
        emit: Emit,
        hooks: Hooks,
    ) -> None:
        self.state = "idle"
        self.now = 0.0
        self.heard_at = 0.0
        self.retry_after_ms = 0
        self.away = False
        self.is_opening = False  # a connection is, and nothing may be sent on it yet
        self._transports = list(transports)
        self._index = self._transports.index(first) if first in self._transports else 0
        self._home = self._index  # where to begin again
        self._known = first is not None  # home has worked
        self._random = random
        self._emit = emit
        self._hooks = hooks
        self._has_token = has_token
        self._refused_tokens = 0
        self._refused_since = 0.0  # a token, for a moment
        self._retry_max_ms = retry_max_ms  # as the application wants it, or
        self._spread_ms: float = LONGEST_DELAY_MS  # as the server does
        self._wants_token = False
        self._failures = 0
        self._short_lives = 0
        self._silence_ms: float = SILENCE_MS
        self._ends_at = 0.0  # the token
        self._up_at = 0.0
        self._pinged_at = 0.0
        self._pong_due = 0.0

    @property
    def transport(self) -> str:
        """The transport that is used, or tried."""
        return self._transports[self._index]

    def after(self, ms: float, name: str) -> None:
        """Set a timer."""
        self._emit("timer", name=name, ms=ms)

    def _cancel(self, *names: str) -> None:
        for name in names:
            self._emit("cancel", name=name)

    def _go(self, why: str, text: str, **more: Any) -> None:
        self.state = TRANSITIONS[self.state][why]
        change = {"state": self.state, "reason": why, "text": text, "transport": self.transport, **more}
        self._emit("change", change=change)

    # Connecting.

    def start(self) -> None:
        """Connect for the first time."""
        if self.state == "idle":
            self._connect("start", "starting")

    def _connect(self, why: str, text: str) -> None:
        self._go(why, text)
        self._cancel("retry")
        self._emit("shut")
        if self._has_token:
            self.after(KNOWN_TRANSPORT_MS, "connect")
            self._wants_token = True
            self._emit("token")
        else:
            self._open()

    def _open(self) -> None:
        self._patience()
        self.is_opening = True
        self._emit("open", transport=self.transport, joins=self._hooks.open())

    def _patience(self) -> None:
        known = self._known and self._index == self._home
        self.after(KNOWN_TRANSPORT_MS if known else NEW_TRANSPORT_MS, "connect")

    def heard(self) -> None:
        """Note that something has arrived, if only a byte."""
        self.heard_at = self.now
        if self.is_opening:
            self._patience()  # it is slow, and gets on

    def token(self, token: str) -> None:
        """Take the token that the application has given."""
        if not self._wants_token:
            return
        self._wants_token = False
        if self.state == "connecting":
            self._emit("auth", token=token)
            self._open()
        elif self.state == "online":
            self._emit("auth", token=token)

    def no_token(self, text: str, *, final: bool) -> None:
        """Note that the application has no token, now or for good."""
        if not self._wants_token:
            return
        self._wants_token = False
        if final:
            self.close("refused", text, "unauthorized")
        elif self.state == "connecting":
            self.wait("fail", text)
        elif self.state == "online":
            self.after(self._delay(), "refresh")

    def token_refused(self, retry_after_ms: float) -> None:
        """Ask for a token again: a newer one was refused, on a connection that the one before still holds open.

        Args:
            retry_after_ms: When it may count, if it was refused for a moment; else 0.
        """
        if self._may_pass(retry_after_ms):
            self.after(retry_after_ms, "refresh")

    def up(self) -> None:
        """Note that the server has accepted this client."""
        self._home = self._index
        self._known = True
        self._refused_tokens = 0
        self._refused_since = 0.0
        self._up_at = self.now
        self._go("up", f"connected by {self.transport}")
        self.after(STABLE_MS, "stable")
        self.after(PING_MS, "ping")

    def opened(self) -> None:
        """Note that everything may be sent now."""
        self._cancel("connect")
        self.is_opening = False

    def terms(self, event: Json) -> float | None:
        """Take what the server says of its end of the connection. Times are left, for clocks differ.

        Returns:
            After how many ms the token is to be renewed, if that is new.
        """
        self._refused_since = 0.0
        if event.get("retry_max_ms"):
            self._spread_ms = min(SPREAD_MAX_MS, max(LONGEST_DELAY_MS, event["retry_max_ms"]))
        if "heartbeat" in event:
            self._silence_ms = max(SILENCE_MS, 1500 * event["heartbeat"]["interval_s"])
        left = event.get("expires_in_ms")
        # A stream that is opened anew has the same token: a client that opens often would never come to renew it.
        if not self._has_token or left is None or self.now + left <= self._ends_at + 1000:
            return None
        self._ends_at = self.now + left
        renew_ms: float = min(2**31 - 1, max(1000, left - min(REFRESH_MARGIN_MS, left / 2)))
        return renew_ms

    # Losing the connection.

    def down(self, down: Json) -> None:
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
        self.retry_after_ms = max(self.retry_after_ms, retry_after_ms)
        self.away = status == 503 or code == 1013
        refused = then is Then.REFRESH and not self._may_pass(retry_after_ms)
        if refused and self._has_token:
            self._refused_tokens += 1
        if then is Then.GIVE_UP or (refused and (not self._has_token or self._refused_tokens > REFUSED_TOKENS_MAX)):
            self.close("refused", text, "unauthorized" if then is Then.REFRESH else reason)
            return
        more = self._index + 1 < len(self._transports)
        if self.state == "online":
            if self.now - self._up_at >= SETTLED_MS:
                self._failures = 0
            if not (code in (1001, 1012, 1013) or code >= 4000 or unreachable):
                self._short_lives += 1
                if self._short_lives >= SHORT_LIVES_MAX and more:
                    self._short_lives = 0
                    self._index += 1
                    self._home = self._index
                    self._known = False
            self.wait("lost", text)
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
        self.wait("fail", text)

    def _may_pass(self, retry_after_ms: float) -> bool:
        """Return whether the token was refused for a moment only: clocks differ, and keys take their time."""
        if not retry_after_ms or not self._has_token:
            return False
        self._refused_since = self._refused_since or self.now
        return self.now - self._refused_since < MOMENT_MS

    def _delay(self) -> int:
        """Return the next pause: full jitter, so that 10,000 clients of a server that died do not come back as one."""
        longest = AWAY_DELAY_MS if self.away else self._spread_ms
        if self._retry_max_ms is not None:
            longest = self._retry_max_ms
        ceiling = min(longest, FIRST_DELAY_MS * 2 ** min(self._failures, 10))
        self._failures += 1
        self.away = False
        ms = self.retry_after_ms + self._random() * ceiling
        self.retry_after_ms = 0
        return rounded(ms)

    def wait(self, why: str, text: str) -> None:
        """Wait for the next attempt: the connection is lost, or did not come about."""
        self._cancel("connect", "stable", "ping", "pong", "refresh", "flush", "resend")
        self._emit("shut")
        self.is_opening = False
        self._ends_at = 0.0
        self._hooks.lost()
        ms = self._delay()
        self._go(why, text, retryMs=ms)
        self.after(ms, "retry")

    def close(self, why: str, text: str, reason: str | None = None) -> None:
        """Close for good."""
        if self.state == "closed":
            return
        self._cancel("connect", "retry", "stable", "ping", "pong", "refresh", "flush", "resend")
        if self.state == "online":
            self._hooks.farewell()
        self._emit("shut")
        self.is_opening = False
        self._go(why, text, reason=reason or why)
        self._hooks.closed(text)

    # Time.

    def timer(self, name: str) -> None:
        if name == "connect":
            if self._wants_token:
                self._wants_token = False
                self.wait("fail", "getToken did not answer in time")
            else:
                self.down({"reason": "timeout", "text": f"no answer by {self.transport}"})
        elif name == "retry":
            if self.state == "waiting":
                self._connect("retry", "trying again")
        elif name == "stable":
            self._short_lives = 0
            self._emit("remember", transport=self.transport)
        elif name == "ping":
            self._ping(PONG_MS)
        elif name == "pong":
            if self.heard_at >= self._pinged_at:
                return
            # If this timer itself is late, this machine has slept, and not the server.
            if self.now - self._pong_due > 5000:
                self._ping(PROBE_MS)
            else:
                self.down({"reason": "silence", "text": "nothing was heard from the server"})
        elif name == "refresh":
            self._ends_at = 0.0  # the application may say that the token is still good
            if self.state == "online" and not self._wants_token:
                self._wants_token = True
                self._emit("token")

    def _ping(self, patience_ms: int) -> None:
        if self.state != "online":
            return
        self.after(PING_MS, "ping")
        if self.transport == "websocket":
            self._pinged_at = self.now
            self._pong_due = self.now + patience_ms
            self._emit("send", command={"type": "ping"})
            self.after(patience_ms, "pong")
        elif self.now - self.heard_at > self._silence_ms:
            self.down({"reason": "silence", "text": "nothing was heard from the server"})

    def wake(self, reason: str, *, stale: bool = False) -> None:
        """Find out at once what is left of the connection: the network or the machine has come back.

        Args:
            stale: Nothing is left of it.
        """
        if stale and self.state == "online":
            self.wait("lost", reason)
        elif stale and self.state == "connecting":
            self.wait("fail", reason)  # on the network of before
        if self.state == "waiting":
            self._failures = 0
            self._connect("wake", reason)
        elif self.state == "online":
            if self.transport == "websocket":
                self._ping(PROBE_MS)
            elif self.now - self.heard_at > 3000:
                # A stream cannot be asked, but a new one costs one request and says where it stands.
                self._open()
                self.heard_at = self.now
