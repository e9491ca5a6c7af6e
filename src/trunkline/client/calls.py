"""Calls of the application's handlers. The twin of `client/src/calls.js`.

A call is sent, and after each break sent again with the same id, until it is answered or its time is over; the server
recognises the id, and carries the call out once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from trunkline.client.json_text import Json
from trunkline.client.readings import Emit
from trunkline.client.refusals import TEMPORARY, pause_ms

CALLS_MAX = 1000
SENT_MAX = 8  # servers take 16 of one user at the same time
REQUESTS_MAX = 4  # a browser has six connections to a server, and these are not its only requests
REPEAT_MS = 50_000  # servers recognise an id for 60 s: later, a repeat could be carried out as another call


class _Waiting:
    __slots__ = ("data", "ends_at", "id", "is_repeat", "is_sent", "name", "retry_at", "sent_at", "timeout_ms")

    def __init__(self, call: Json, now: float) -> None:
        self.id: str = call["id"]
        self.name: str = call["name"]
        self.data: Any = call["data"]
        self.timeout_ms: float = call["timeoutMs"]
        self.ends_at = now + self.timeout_ms
        self.sent_at = math.inf  # when it was sent first; infinite if the server has certainly not carried it out
        self.retry_at = 0.0
        self.is_sent = False  # on this connection, and not answered
        self.is_repeat = False  # an answer was lost


class Calls:
    """The calls that have no answer.

    Args:
        random: Returns a number from 0 to 1.
    """

    def __init__(self, random: Callable[[], float], emit: Emit) -> None:
        self.waiting: dict[str, _Waiting] = {}  # in order
        self._random = random
        self._emit = emit
        self._timer_at = math.inf
        self._sent_max = SENT_MAX

    def open(self, transport: str, now: float) -> None:
        """Begin a connection, on which what was sent on the one before is to be sent again."""
        self._sent_max = SENT_MAX if transport == "websocket" else REQUESTS_MAX
        self.lost(now)

    def add(self, call: Json, now: float, *, closed: bool) -> None:
        """Take a call."""
        if call["id"] in self.waiting:
            return  # it is on its way already
        waiting = _Waiting(call, now)
        if closed:
            self._reject(waiting, "closed", "the client is closed")
        elif len(self.waiting) >= CALLS_MAX:
            self._reject(waiting, "outbox_full", f"{CALLS_MAX} calls wait already")
        else:
            self.waiting[waiting.id] = waiting
            self._schedule(now)

    def flush(self, spend: Callable[[], bool], now: float) -> None:
        """Send what may be sent now, in order.

        Args:
            spend: Returns whether one more command may be sent.
        """
        left = self._sent_max - sum(call.is_sent for call in self.waiting.values())
        for call in list(self.waiting.values()):
            if call.is_sent or call.retry_at > now or self._is_over(call, now):
                continue
            if left <= 0 or not spend():
                break
            left -= 1
            call.is_sent = True
            call.sent_at = min(call.sent_at, now)
            self._emit("send", command={"type": "call", "id": call.id, "name": call.name, "data": call.data})

    def lost(self, now: float) -> None:
        """Note that the connection has ended, and that the answers to what was sent on it are lost."""
        for call in self.waiting.values():
            call.is_repeat = call.is_repeat or call.is_sent
            call.is_sent = False
        self._schedule(now)

    def answered(self, result: Json) -> None:
        """Note that a call was carried out."""
        if self.waiting.pop(result["id"], None) is not None:
            self._emit("result", id=result["id"], data=result["data"])

    def refused(self, error: Json, now: float) -> None:
        """Note that a call was refused, for now or for good."""
        call = self.waiting.get(str(error.get("id")))
        if call is None:
            return  # its time is over
        if error["code"] not in TEMPORARY:
            del self.waiting[call.id]
            self._emit("rejected", error={"id": call.id, "code": error["code"], "message": error["message"]})
            return
        if error["code"] == "network":
            call.is_repeat = True
        elif not call.is_repeat:
            call.sent_at = math.inf  # the server says that it has done nothing
        call.is_sent = False
        call.retry_at = now + pause_ms(error, self._random)
        self._schedule(now)

    def abort(self, call_id: str) -> None:
        """Forget a call for which the application does not wait any more."""
        if call_id in self.waiting:
            self._reject(self.waiting[call_id], "aborted", "the call was given up")

    def reject_all(self, text: str) -> None:
        """Reject all calls: the client is closed."""
        for call in list(self.waiting.values()):
            self._reject(call, "closed", text)
        if self._timer_at < math.inf:
            self._emit("cancel", name="calls")

    def _reject(self, call: _Waiting, code: str, why: str) -> None:
        self.waiting.pop(call.id, None)
        message = f"{why}: it {'may have been' if call.sent_at < math.inf else 'was not'} carried out"
        self._emit("rejected", error={"id": call.id, "code": code, "message": message})

    # Time.

    def timer(self, now: float) -> None:
        """Reject the calls whose time is over."""
        self._timer_at = math.inf
        for call in list(self.waiting.values()):
            self._is_over(call, now)
        self._schedule(now)

    def _is_over(self, call: _Waiting, now: float) -> bool:
        """Return whether the time of a call is over; then it is rejected."""
        if now >= call.ends_at:
            self._reject(call, "timeout", f"no result within {call.timeout_ms / 1000:g} s")
        elif not call.is_sent and now >= call.sent_at + REPEAT_MS:
            self._reject(call, "outcome_unknown", "the answer was lost, and it is too late to call again")
        else:
            return False
        return True

    def _schedule(self, now: float) -> None:
        """Set the timer for what is due next."""
        due = self._timer_at
        for call in self.waiting.values():
            due = min(due, call.ends_at)
            if not call.is_sent:
                due = min(due, call.sent_at + REPEAT_MS, call.retry_at if call.retry_at > now else math.inf)
        if due < self._timer_at:
            self._timer_at = due
            self._emit("timer", name="calls", ms=math.ceil(min(2**31 - 1, due - now)))
