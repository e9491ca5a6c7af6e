"""The audit log: who has corrected what, and when, in a room of the system that administrators alone may read."""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import Literal

import msgspec

from trunkline.core.notes import AUDIT_KEY
from trunkline.core.system_rooms import AUDIT
from trunkline.engine.engine import Engine
from trunkline.engine.kept_key import kept_key

log = logging.getLogger("trunkline")

HASH_DIGITS = 32

Action = Literal["redact", "delete", "erase"]


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An entry of the audit log.

    Attributes:
        by: The user who has done it, or what the application calls them; None if it did not say.
        count: Of messages.
        offsets: Of the messages that were redacted.
        user_hash: A keyed hash of the user who was erased: it tells whether two entries are of the same user, and who
            has the log's key can find out whether one is of a certain user.
    """

    action: Action
    at: int
    by: str | None
    count: int
    room: str | None = None
    offsets: list[int] = []
    rooms: int | None = None
    user_hash: str | None = None


class Audit:
    """The audit log of one hub."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def add(
        self,
        action: Action,
        by: str | None,
        count: int,
        *,
        room: str | None = None,
        offsets: list[int] | None = None,
        rooms: int | None = None,
        user_hash: str | None = None,
    ) -> None:
        """Write an entry; return when the log has it.

        Raises:
            StoreUnavailable, Overloaded, ShuttingDown: It is not known whether the log has it.
        """
        at = self._engine.clock.wall_ms()
        entry = Entry(
            action=action, at=at, by=by, count=count, room=room, offsets=offsets or [], rooms=rooms, user_hash=user_hash
        )
        log.info("corrected", extra={"action": action, "by": by, "room": room, "messages": count})
        await self._engine.appender.append(AUDIT, None, None, msgspec.json.encode(entry))

    async def hash_of(self, user: str) -> str:
        """Return a keyed hash of a user's name.

        Raises:
            StoreUnavailable: The key could not be read.
        """
        key = await kept_key(self._engine.store, AUDIT_KEY)
        return hmac.new(key, user.encode(), hashlib.sha256).hexdigest()[:HASH_DIGITS]
