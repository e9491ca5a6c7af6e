"""The relay of an outbox: publishes what waits in it, in the order of each room, and removes it.

A message is removed behind its ack. When a relay dies between the two, or two relays run at once, the message is
published again with the same id, which the log recognises: so it is stored once, for as long as the log retains its id.
And since each relay publishes a message only behind the ack of the one before it in its room, no number of relays
changes the order.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from trunkline.client.errors import ClientError
from trunkline.errors import OTHER_ERRORS, REQUEST_ERRORS, Refused
from trunkline.outbox.pending import Pending

log = logging.getLogger("trunkline")

BATCH = 200
ROOMS_AT_ONCE = 4
LONGEST_PAUSE_S = 5.0
HELD_MAX = 500  # rooms that are left out for a while, because a message of theirs could not be published
# Of one message, and not of the server or of the relay's own rights: it will be refused however often it is sent.
OF_CLIENTS = ("timeout", "network", "closed")
UNACCEPTABLE = frozenset({"bad_room", "bad_id", "bad_json", "bad_command", "too_large", "too_deep"})


class Publish(Protocol):
    """What publishes: `hub.publish_sync`, or `Backend.publish`."""

    def __call__(
        self,
        room: str,
        data: Any,
        *,
        id: str,  # noqa: A002 - its name on the wire
        sender: str | None,
        timeout_s: float,
    ) -> object:
        """Publish a message, and return when the log has it; the same *id* again is the same message."""


class Outbox(Protocol):
    """The table of an outbox, as a relay has it. Each method is a transaction of its own."""

    def pending(self, limit: int, without: Sequence[str]) -> list[Pending]:
        """Return the first messages that wait, in the order of their numbers, but those of the rooms in *without*."""

    def remove(self, messages: Sequence[Pending]) -> None:
        """Remove messages that are published."""

    def refuse(self, message: Pending, why: str) -> None:
        """Keep a message that will never be published, with the reason, out of the way of the others."""

    def release(self) -> None:
        """Close what this thread has of the database: a relay ends."""


class Relay:
    """Publishes what waits in an outbox, on a thread of its own: `with Relay(outbox, hub.publish_sync): …`.

    Args:
        outbox: The table.
        publish: What publishes.
        poll_s: How often the table is looked at, in seconds, while nothing waits.
        timeout_s: How long one message may take, in seconds.

    Attributes:
        published: How many messages were published.
        refused: How many were refused for good: they stay in the table, with the reason.
    """

    def __init__(self, outbox: Outbox, publish: Publish, *, poll_s: float = 0.2, timeout_s: float = 10.0) -> None:
        self._outbox = outbox
        self._publish = publish
        self._poll_s = poll_s
        self._timeout_s = timeout_s
        self._stopping = threading.Event()
        self._waking = threading.Event()
        self._thread: threading.Thread | None = None
        self._held: dict[str, float] = {}  # until when, by the monotonic clock
        self.published = 0
        self.refused = 0

    # On a thread.

    def start(self) -> None:
        """Begin."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self.run, name="trunkline-relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, behind the messages that are on their way. What waits goes on waiting."""
        self._stopping.set()
        self._waking.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wake(self) -> None:
        """Look at the table now: a transaction of this process was committed."""
        self._waking.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Here.

    def run(self) -> None:
        """Publish until `stop` is called, from another thread. Whatever fails is logged, and tried again."""
        try:
            self._run()
        finally:
            self._outbox.release()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                count = self.run_once()
            except Exception as error:  # noqa: BLE001 - the database or the log is away, in any library's words
                failures = min(failures + 1, 30)
                log.warning("the outbox waits: %s: %s", type(error).__name__, error)
                ceiling = max(self._poll_s, min(LONGEST_PAUSE_S, self._poll_s * 2**failures))
                self._stopping.wait(random.uniform(self._poll_s, ceiling))  # noqa: S311 - jitter
                continue
            failures = 0
            if not count:
                self._waking.wait(self._poll_s)
                self._waking.clear()

    def run_once(self) -> int:
        """Publish one batch of what waits now.

        Returns:
            How many messages were published or refused: 0 if there was nothing to do.

        Raises:
            Exception: The database, or the log, is away: what the driver, or *publish*, has raised. What was published
                before is removed.
        """
        now = time.monotonic()
        self._held = {room: until for room, until in self._held.items() if until > now}
        rooms: dict[str, list[Pending]] = {}
        for message in self._outbox.pending(BATCH, list(self._held)):
            rooms.setdefault(message.room, []).append(message)
        outcomes = [_Outcome(messages) for messages in rooms.values()]
        if len(outcomes) == 1:
            self._publish_room(outcomes[0])
        elif outcomes:
            with ThreadPoolExecutor(ROOMS_AT_ONCE, "trunkline-relay") as threads:
                for _ in threads.map(self._publish_room, outcomes):
                    pass
        return self._settle(outcomes)

    def _publish_room(self, outcome: _Outcome) -> None:
        """Publish the messages of a room, one behind the ack of the other; on any thread, so without the database."""
        for message in outcome.messages:
            if self._stopping.is_set():
                return
            try:
                self._publish_one(message)
            except Exception as error:  # noqa: BLE001 - the publisher's, in any library's words
                if not _is_of_the_message(error):
                    outcome.failed = message, error
                    return
                outcome.refused.append((message, error))
            else:
                outcome.published.append(message)

    def _settle(self, outcomes: Sequence[_Outcome]) -> int:
        published = [message for outcome in outcomes for message in outcome.published]
        if published:
            self._outbox.remove(published)
            self.published += len(published)
        refused = [one for outcome in outcomes for one in outcome.refused]
        for message, error in refused:
            log.error("the outbox: message %s of %s was refused: %s", message.id, message.room, error)
            self._outbox.refuse(message, str(error))
            self.refused += 1
        failures = [outcome.failed for outcome in outcomes if outcome.failed is not None]
        for message, error in failures:
            if not _is_of_the_room(error):
                raise error
            log.warning("the outbox: messages of %s wait: %s", message.room, error)
            if len(self._held) < HELD_MAX:
                self._held[message.room] = time.monotonic() + LONGEST_PAUSE_S
        return len(published) + len(refused)

    def _publish_one(self, message: Pending) -> None:
        data = msgspec.json.decode(message.data)
        self._publish(message.room, data, id=message.id, sender=message.sender, timeout_s=self._timeout_s)


class _Outcome:
    """What has become of the messages of one room."""

    def __init__(self, messages: Sequence[Pending]) -> None:
        self.messages = messages
        self.published: list[Pending] = []
        self.refused: list[tuple[Pending, Exception]] = []
        self.failed: tuple[Pending, Exception] | None = None


def _code(error: Exception) -> str:
    return str(getattr(error, "code", ""))


def _is_of_the_message(error: Exception) -> bool:
    """Return whether it will be refused however often it is sent: by a log, or by the application, in its own words."""
    code = _code(error)
    if isinstance(error, Refused | msgspec.DecodeError) or code in UNACCEPTABLE:
        return True
    is_known = code in REQUEST_ERRORS or code in OTHER_ERRORS or code in OF_CLIENTS or code.startswith("http ")
    return isinstance(error, ClientError) and not is_known


def _is_of_the_room(error: Exception) -> bool:
    return _code(error) in ("forbidden", "internal")
