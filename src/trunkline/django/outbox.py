"""The outbox in Django's database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import close_old_connections, connections, router, transaction

from trunkline.core.limits import Limits
from trunkline.django.models import OutboxLock, OutboxMessage
from trunkline.django.rooms import publish
from trunkline.outbox.pending import Pending, new_pending, shard_of
from trunkline.outbox.relay import Relay

_LIMITS = Limits()


def publish_later(
    room: str,
    data: Any,
    *,
    id: str | None = None,  # noqa: A002 - its name on the wire
    sender: str | None = None,
    using: str | None = None,
) -> str:
    """Publish a message if, and when, the transaction is committed, whatever happens: it is written in the transaction.

    `manage.py trunkline_relay` publishes it, in the order of commits within the room. Until yours is committed other
    transactions that publish in the same room wait: call it late. Two rooms in one transaction are written in the same
    order everywhere.

    Args:
        room, data, id, sender: As for `publish`.
        using: The database whose transaction it is.

    Returns:
        The id; by default a random one.

    Raises:
        RequestError: The room, the id, the sender or the data are not allowed.
        TypeError: msgspec cannot encode the data.
    """
    message = new_pending(room, data, id, sender, _LIMITS)
    database = using or router.db_for_write(OutboxMessage)
    with transaction.atomic(using=database):
        if connections[database].vendor != "sqlite":
            _lock(database, shard_of(room))
        OutboxMessage.objects.using(database).create(room=room, id=message.id, sender=sender, data=message.data)
    return message.id


def _lock(database: str, shard: int) -> None:
    locks = OutboxLock.objects.using(database).select_for_update()
    if locks.filter(shard=shard).first() is None:  # the table was emptied
        OutboxLock.objects.using(database).bulk_create([OutboxLock(shard=shard)], ignore_conflicts=True)
        locks.filter(shard=shard).first()


def relay(*, using: str | None = None, poll_s: float = 0.2, timeout_s: float = 10.0) -> Relay:
    """Return what publishes the messages of `publish_later`; `manage.py trunkline_relay` runs one.

    Args:
        using: The database.
        poll_s: How often the table is looked at, in seconds, while nothing waits.
        timeout_s: How long one message may take, in seconds.
    """
    return Relay(Waiting(using), publish, poll_s=poll_s, timeout_s=timeout_s)


class Waiting:
    """What waits in the table (`relay.Outbox`)."""

    def __init__(self, using: str | None) -> None:
        self._using = using

    def pending(self, limit: int, without: Sequence[str]) -> list[Pending]:
        close_old_connections()
        rows = self._rows.filter(refused__isnull=True).exclude(room__in=without).order_by("number")[:limit]
        return [Pending(row.number, row.room, row.id, row.sender, row.data) for row in rows]

    def remove(self, messages: Sequence[Pending]) -> None:
        for message in messages:
            self._rows.filter(number=message.number, id=message.id).delete()

    def refuse(self, message: Pending, why: str) -> None:
        self._rows.filter(number=message.number, id=message.id).update(refused=why)

    def release(self) -> None:
        connections[self._alias].close()

    @property
    def _alias(self) -> str:
        return str(self._using or router.db_for_write(OutboxMessage))

    @property
    def _rows(self) -> Any:
        return OutboxMessage.objects.using(self._alias)
