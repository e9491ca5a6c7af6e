"""Hooks by HTTP: an application in any language is asked by signed requests to one URL.

They fail closed: without an answer that can be understood the client is not let in, its action not permitted, and its
message not stored.
Only who somebody is and what they may do is kept for a moment, by everything that the application was told when it was
asked.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

from trunkline.core.call import Call
from trunkline.core.grant import Action, Grant, Permissions, check_permissions
from trunkline.core.incoming import IncomingMessage
from trunkline.core.limits import Limits
from trunkline.core.webhook import HooksSettings, signature, signing_keys
from trunkline.engine.clock import Clock
from trunkline.errors import ConfigError, HookFailed, HookTimedOut, Refused, TrunklineError, setting
from trunkline.webhooks.sender import ANSWER_BYTES_MAX, Sender, Unsent
from trunkline.wire.credentials import Credentials

log = logging.getLogger("trunkline")

T = TypeVar("T")
CACHED_MAX = 10_000
DECISIONS_MAX = 100  # that the application is asked for at the same time
HEADER_BYTES_MAX = 16 * 1024

_encode = msgspec.json.Encoder().encode


class _Refuse(msgspec.Struct):
    code: str
    message: str = ""
    status: int = 422
    retry_after_ms: int | None = None


class _Who(msgspec.Struct):
    user: str | None = None
    permissions: Permissions = Permissions()
    expires_at: float | None = None


class _May(msgspec.Struct):
    allowed: bool


class _Let(msgspec.Struct):
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    refuse: _Refuse | None = None


class _Cache(Generic[T]):
    """Answers that are kept for a moment."""

    def __init__(self, clock: Clock, kept_s: float) -> None:
        self._clock = clock
        self._kept_s = kept_s
        self._answers: OrderedDict[bytes, tuple[T, float, str | None]] = OrderedDict()
        self.forgotten = 0

    def get(self, key: bytes) -> tuple[T] | None:
        found = self._answers.get(key)
        if found is None or found[1] <= self._clock.monotonic():
            return None
        return (found[0],)

    def put(self, key: bytes, answer: T, user: str | None, forgotten: int) -> None:
        """Keep an answer, unless something was forgotten since it was asked for, when there were so many."""
        if forgotten != self.forgotten:
            return
        self._answers.pop(key, None)
        self._answers[key] = (answer, self._clock.monotonic() + self._kept_s, user)
        if len(self._answers) > CACHED_MAX:
            self._answers.popitem(last=False)

    def forget(self, user: str) -> None:
        self.forgotten += 1
        for key in [key for key, (_, _, of) in self._answers.items() if of == user]:
            del self._answers[key]


class HttpHooks:
    """The hooks of one process.

    Raises:
        ConfigError: The settings are not what they should be.
    """

    def __init__(self, settings: HooksSettings, clock: Clock, limits: Limits) -> None:
        self._settings = settings
        self._clock = clock
        with setting("hooks"):
            self._keys = signing_keys(settings.secret, settings.former_secret)
            if not (0 < settings.timeout_s <= 60 and 0 <= settings.cache_s <= 3600):
                raise ConfigError("timeout_s is up to 60, cache_s up to 3600")
            self._sender = Sender(settings.url, None, settings.timeout_s, DECISIONS_MAX)
            # Of their own: calls may be slow, and what lets clients in must not wait for them.
            self._calls = Sender(settings.url, None, limits.call_s, limits.calls_in_flight_max)
        self._who: _Cache[Grant] = _Cache(clock, settings.cache_s)
        self._may: _Cache[bool] = _Cache(clock, settings.cache_s)

    async def authenticate(self, credentials: Credentials) -> Grant | None:
        """Ask who a client is."""
        head = credentials.head
        asked = {
            "token": credentials.token,
            "cookies": credentials.cookies,
            "headers": _headers(head.headers),
            "query": [[name, value] for name, value in head.query if name not in ("token", "ticket")],
            "address": credentials.address,
        }
        # Whatever it is told, it may decide by: but for what is other at each request of the same client.
        key = hashlib.sha256(_encode(asked)).digest()
        known = self._who.get(key)
        if known is not None:
            return known[0]
        forgotten = self._who.forgotten
        who = await self._ask("authenticate", asked, _Who)
        if who.user is None:
            return None
        try:
            permissions = check_permissions(who.permissions)
        except ValueError as error:
            raise self._failed("authenticate", f"its permissions: {error}") from None
        grant = Grant(user=who.user, permissions=permissions, expires_at=who.expires_at)
        self._who.put(key, grant, who.user, forgotten)
        return grant

    async def authorize(self, grant: Grant, action: Action, room: str) -> bool:
        """Ask what a client may do."""
        asked = {"grant": _told(grant), "action": action, "room": room}
        key = hashlib.sha256(_encode(asked)).digest()
        known = self._may.get(key)
        if known is not None:
            return known[0]
        forgotten = self._may.forgotten
        allowed = (await self._ask("authorize", asked, _May)).allowed
        self._may.put(key, allowed, grant.user, forgotten)
        return allowed

    async def before_publish(self, grant: Grant, message: IncomingMessage) -> None:
        """Have a message looked at."""
        asked = {"grant": _told(grant), "room": message.room, "id": message.id, "data": msgspec.Raw(message.json())}
        answer = await self._ask("before_publish", asked, _Let)
        _check(answer)
        if answer.data is not msgspec.UNSET:
            message.data = msgspec.json.decode(answer.data)

    async def call(self, call: Call, data: msgspec.Raw) -> msgspec.Raw:
        """Have a call answered. It is sent once, whatever happens."""
        asked = {
            "name": call.name,
            "id": call.id,
            "grant": _told(call.grant),
            "member": call.member,
            "session": call.session,
            "address": call.address,
            "data": data,
        }
        answer = await self._ask("call", asked, _Let, self._calls)
        _check(answer)
        return msgspec.Raw(b"null") if answer.data is msgspec.UNSET else answer.data

    def forget(self, user: str) -> None:
        """Ask again what is kept of a user: permissions have changed."""
        self._who.forget(user)
        self._may.forget(user)

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()
        await self._calls.close()

    async def _ask(self, kind: str, data: dict[str, Any], wanted: type[T], sender: Sender | None = None) -> T:
        now_ms = self._clock.wall_ms()
        body = _encode(
            {"type": f"trunkline.{kind}", "timestamp": datetime.fromtimestamp(now_ms / 1000, UTC), "data": data}
        )
        headers = signature(self._keys, f"msg_{secrets.token_hex(16)}", now_ms // 1000, body)
        try:
            answer = await (sender or self._sender).post(body, headers)
        except Unsent as error:
            failed = self._failed(kind, str(error))
            raise HookTimedOut(str(failed)) if sender is self._calls and error.was_sent else failed from None
        if not 200 <= answer.status < 300:
            raise self._failed(kind, f"it answered {answer.status}")
        if len(answer.body) > ANSWER_BYTES_MAX:
            raise self._failed(kind, f"its answer is larger than {ANSWER_BYTES_MAX} bytes")
        try:
            return msgspec.json.decode(answer.body or b"{}", type=wanted)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise self._failed(kind, f"its answer cannot be understood: {error}") from None

    @staticmethod
    def _failed(kind: str, why: str) -> TrunklineError:
        log.error("the application's hook %s has failed: %s", kind, why)
        return HookFailed("the application could not decide" if kind.startswith("auth") else "the application failed")


def _headers(headers: dict[bytes, bytes]) -> dict[str, str]:
    """Return what an application may decide by: not what a connection is made of."""
    kept = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items() if name not in _OF_HTTP}
    return kept if sum(map(len, kept.values())) <= HEADER_BYTES_MAX else {}


_OF_HTTP = frozenset(
    b"connection upgrade host accept content-length content-type transfer-encoding last-event-id idempotency-key"
    b" sec-websocket-key sec-websocket-version sec-websocket-extensions traceparent tracestate".split()
)


def _told(grant: Grant) -> dict[str, Any]:
    return {"user": grant.user, "permissions": grant.permissions, "token_id": grant.token_id}


def _check(answer: _Let) -> None:
    """Raise what an answer refuses with.

    Raises:
        Refused: It refuses.
        HookFailed: Its refusal is none.
    """
    refuse = answer.refuse
    if refuse is None:
        return
    try:
        error = Refused(refuse.code, refuse.message, status=refuse.status, retry_after_ms=refuse.retry_after_ms)
    except ValueError as wrong:
        log.error("the application's refusal is none: %s", wrong)
        raise HookFailed("the application failed") from None
    raise error
