"""The outbox by Django's ORM, on SQLite; on PostgreSQL and MariaDB: tests/interop/test_django_outbox.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from io import StringIO

import pytest

from tests.outbox.contract import OutboxContract, Write, log
from trunkline.outbox import Outbox
from trunkline.testing import BlockingHub

__all__ = ["log"]  # a fixture


class DjangoContract(OutboxContract):
    """A subclass says which database."""

    using = "default"

    @pytest.fixture
    def begin(self) -> Callable[[], AbstractContextManager[Write]]:
        from django.db import connections, transaction

        from trunkline.django.outbox import publish_later

        @contextmanager
        def begin() -> Iterator[Write]:
            try:
                with transaction.atomic(using=self.using):
                    yield partial(publish_later, using=self.using)
            finally:
                connections[self.using].close()  # threads of the tests come and go

        return begin

    @pytest.fixture
    def outbox(self) -> Outbox:
        from trunkline.django.outbox import Waiting

        return Waiting(self.using)


class TestOnSqlite(DjangoContract):
    """One writer at a time."""

    writes_side_by_side = False


def test_the_command_publishes_what_waits_and_ends(hub: BlockingHub) -> None:
    from django.core.management import call_command

    from trunkline.django import publish_later

    for n in range(3):
        publish_later("r", n)
    assert hub.stored("r") == []
    said = StringIO()
    call_command("trunkline_relay", once=True, stdout=said)
    assert [message.data for message in hub.stored("r")] == [0, 1, 2]
    assert said.getvalue() == "3 messages published, 0 refused\n"


def test_the_command_says_why_it_cannot(hub: BlockingHub) -> None:
    from django.core.management import CommandError, call_command

    from trunkline.django import publish_later

    publish_later("r", 1)
    with hub.store.away(), pytest.raises(CommandError, match="the outbox waits"):
        call_command("trunkline_relay", once=True, stdout=StringIO())
    call_command("trunkline_relay", once=True, stdout=StringIO())
    assert [message.data for message in hub.stored("r")] == [1]


def test_locks_that_are_gone_are_made_again(hub: BlockingHub) -> None:
    from trunkline.django import publish_later
    from trunkline.django.models import OutboxLock, OutboxMessage
    from trunkline.outbox.pending import SHARDS

    assert OutboxLock.objects.count() == SHARDS
    OutboxLock.objects.filter(shard__gte=0).delete()
    publish_later("r", 1)
    assert OutboxMessage.objects.count() == 1
    OutboxLock.objects.all().delete()
    OutboxLock.objects.bulk_create([OutboxLock(shard=shard) for shard in range(SHARDS)])
