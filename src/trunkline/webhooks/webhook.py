"""A webhook: a durable consumer whose messages are posted, batch after batch, in order.

A batch that is not taken is posted again, with the same `webhook-id`, less and less often; nothing overtakes it. Only
when that has gone on for long, or the receiver says that it will never take it, it is given up: each message is set
aside. The reports of that are messages of a room, which it consumes as well, and posts as gaps; those it never gives
up.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec

from trunkline.consumers.message import ConsumedMessage
from trunkline.consumers.registry import Consumers
from trunkline.consumers.settings import Settings
from trunkline.core.consumer import SetAside, check_patterns
from trunkline.core.message import Message
from trunkline.core.position import Gap
from trunkline.core.system_rooms import CONNECTION_LOG, PRESENCE_LOG, aside_room
from trunkline.core.webhook import WebhookSettings, parse_networks, signature, signing_keys
from trunkline.engine.clock import Clock
from trunkline.engine.engine import Engine
from trunkline.errors import ConfigError, Fenced, ShuttingDown, TrunklineError, setting
from trunkline.webhooks.sender import Answer, Sender, Unsent

log = logging.getLogger("trunkline")

RETRY_S, RETRY_S_MAX = 1.0, 300.0
NEVER_TRIES = 10  # of a batch that the receiver says it will not take: within some minutes
BEGIN_AGAIN_S = 5.0
LOGS = {"presence": PRESENCE_LOG, "connections": CONNECTION_LOG}

_encode = msgspec.json.Encoder().encode


class _Entry(msgspec.Struct, omit_defaults=True):
    """A message as it is posted."""

    message: Message
    position: str
    fence: int
    tries: int = 0


class _GivenUp(msgspec.Struct):
    room: str
    epoch: str
    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")
    reason: str = "given_up"


class _Gone(Exception):
    pass


class _Redacted(Exception):
    """Something that was to be posted is to be read again."""


class _Batch(msgspec.Struct):
    webhook: str
    messages: list[_Entry] = []
    gaps: list[Gap | _GivenUp] = []
    redactions: list[Message] = []


class _Body(msgspec.Struct):
    type: str
    timestamp: datetime
    data: _Batch


class Webhook:
    """One webhook of one process.

    Raises:
        ConfigError: Its settings are not what they should be.
    """

    def __init__(self, engine: Engine, consumers: Consumers, settings: WebhookSettings) -> None:
        self._engine = engine
        self._consumers = consumers
        self._settings = settings
        self._clock: Clock = engine.clock
        self._rooms = [*settings.rooms, *(LOGS[event] for event in settings.events)]
        with setting(f"webhook {settings.consumer}"):
            if not self._rooms:
                raise ConfigError("name rooms, or events")
            check_patterns(self._rooms)
            self._keys = signing_keys(settings.secret, settings.former_secret)
            with setting("networks"):
                networks = parse_networks(settings.networks)
            if not (0 < settings.timeout_s <= 300 and 0 < settings.batch_messages <= 1000 and settings.give_up_s > 0):
                raise ConfigError("timeout_s is up to 300, batch_messages up to 1000, give_up_s more than 0")
            self._sender = Sender(settings.url, networks, settings.timeout_s)

    @property
    def name(self) -> str:
        """The name of its consumer."""
        return self._settings.consumer

    @property
    def events(self) -> Sequence[str]:
        """What it wants beside messages."""
        return self._settings.events

    async def run(self) -> None:
        """Post for ever, or until the receiver says that it is gone for good."""
        rooms = [*self._rooms, aside_room(self.name)]
        # A batch is tried for as long as it takes: what the receiver does not take is never a message's fault alone.
        settings = Settings(
            in_flight=self._settings.batch_messages,
            ack_wait_s=float("inf"),
            tries_max=1 << 30,
            on_gap=lambda gap: self._tell(gaps=[gap]),
            on_redacted=lambda entry: self._tell(redactions=[entry]),
            batch_messages=self._settings.batch_messages,
        )
        try:
            while True:
                try:
                    batches = self._consumers.consume_batches(self.name, rooms, self._settings.since, settings)
                    async with aclosing(batches):
                        async for batch in batches:
                            await self._post_messages(batch)
                except ShuttingDown:
                    return
                except _Gone:
                    log.error("webhook %s: the receiver is gone for good (410); a restart tries it again", self.name)
                    return
                except Exception as error:
                    if isinstance(error, TrunklineError):
                        log.warning("webhook %s begins again: %s", self.name, error)
                    else:
                        log.exception("webhook %s has failed, and begins again", self.name)
                    await asyncio.sleep(BEGIN_AGAIN_S)
        finally:
            await self._sender.close()

    async def _post_messages(self, batch: list[ConsumedMessage]) -> None:
        reports = [one for one in batch if one.room == aside_room(self.name)]
        others = [one for one in batch if one.room != aside_room(self.name)]
        entries = [_Entry(one.message, one.position, one.fence, one.tries) for one in others]
        content = _Batch(webhook=self.name, messages=entries, gaps=[*_given_up(reports)])
        last = list({message.room: message for message in batch}.values())
        try:
            why = await self._deliver(content, batch[0].position, [message.room for message in last])
        except _Redacted:
            await self._settle(last, lambda message: message.fail("something was redacted"))
            return
        if why is None:
            await self._settle(last, ConsumedMessage.ack)
        else:
            await self._settle(reports[:1], lambda message: message.fail(why))
            await self._settle(others, lambda message: message.set_aside(why))

    async def _settle(
        self, messages: Sequence[ConsumedMessage], settle: Callable[[ConsumedMessage], Awaitable[None]]
    ) -> None:
        """Settle messages, but for those of rooms that another instance has by now."""
        for message in messages:
            try:
                await settle(message)
            except Fenced as error:
                log.info("webhook %s: %s", self.name, error)

    async def _tell(self, gaps: Sequence[Gap] = (), redactions: Sequence[Message] = ()) -> None:
        """Post what is no message, before the cursor passes it."""
        content = _Batch(webhook=self.name, gaps=list(gaps), redactions=list(redactions))
        key = gaps[0].next if gaps else redactions[0].id
        why = await self._deliver(content, key)
        if why is not None:
            log.error("webhook %s was not told of a gap or a redaction: %s", self.name, why)

    async def _deliver(self, content: _Batch, key: str, rooms: Sequence[str] = ()) -> str | None:
        """Post a batch until it is taken; return why it was given up, if it was.

        Args:
            rooms: Those of its messages.

        Raises:
            _Gone: The receiver is gone for good.
            _Redacted: It was not taken, and has something that was taken away meanwhile.
        """
        redactions = self._engine.redactions
        seen = redactions.count
        began, tries, delay_s = self._clock.monotonic(), 0, RETRY_S
        now_ms = self._clock.wall_ms()
        body = _encode(_Body("trunkline.batch", datetime.fromtimestamp(now_ms / 1000, UTC), content))
        message_id = f"msg_{hashlib.sha256(f'{self.name} {key} '.encode() + body).hexdigest()[:32]}"
        while True:
            tries += 1
            at_s = self._clock.wall_ms() // 1000
            wait_s = delay_s
            try:
                answer = await self._sender.post(body, signature(self._keys, message_id, at_s, body))
            except Unsent as error:
                why, never = str(error), False
            else:
                if 200 <= answer.status < 300:
                    if tries > 1:
                        log.warning("webhook %s is taken again, after %d tries", self.name, tries)
                    return None
                if answer.status == 410:
                    raise _Gone
                why, never = f"it answered {answer.status}", _is_never(answer)
                wait_s = max(delay_s, min(answer.retry_after_s or 0.0, RETRY_S_MAX))
            age_s = self._clock.monotonic() - began
            if age_s >= self._settings.give_up_s or (never and tries >= NEVER_TRIES):
                log.error("webhook %s: a batch is given up after %d tries: %s", self.name, tries, why)
                return why
            if tries == 1:
                log.warning("webhook %s: %s; trying again", self.name, why)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s * (0.5 + self._clock.fraction() / 2)):
                    await self._consumers.stopping.wait()
                    raise ShuttingDown("the hub is stopping")
            if redactions.is_stale(seen, *rooms):
                raise _Redacted
            delay_s = min(RETRY_S_MAX, delay_s * 2)


def _given_up(reports: Sequence[ConsumedMessage]) -> list[_GivenUp]:
    """Return the gaps that reports of messages that were set aside make; neighbours are one."""
    gaps: list[_GivenUp] = []
    for report in reports:
        aside = msgspec.json.decode(report.message.json, type=SetAside)
        before = gaps[-1] if gaps else None
        if (
            before is not None
            and (before.room, before.epoch) == (aside.room, aside.epoch)
            and before.last < aside.offset
        ):
            before.last = aside.offset
        else:
            gaps.append(_GivenUp(aside.room, aside.epoch, aside.offset, aside.offset))
    return gaps


def _is_never(answer: Answer) -> bool:
    """Return whether the receiver says that it will never take this."""
    return 300 <= answer.status < 500 and answer.status not in (401, 403, 404, 408, 425, 429)
