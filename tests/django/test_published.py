"""Models that say in a room what has become of their rows."""

from __future__ import annotations

import pytest

from trunkline.testing import BlockingHub


def test_saving_and_deleting_are_published_on_commit(hub: BlockingHub) -> None:
    from tests.django.shop.models import Order

    order = Order.objects.create(status="ordered")
    key = order.pk
    order.status = "shipped"
    order.save()
    order.delete()
    assert [message.data for message in hub.stored(f"orders:{key}")] == [
        {"event": "saved", "data": {"status": "ordered"}},
        {"event": "saved", "data": {"status": "shipped"}},
        {"event": "deleted", "data": {"status": "shipped"}},
    ]


def test_what_is_rolled_back_is_not(hub: BlockingHub) -> None:
    from django.db import transaction

    from tests.django.shop.models import Order

    keys = []

    def fail() -> None:
        with transaction.atomic():
            keys.append(Order.objects.create(status="ordered").pk)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert hub.stored(f"orders:{keys[0]}") == []


def test_a_row_without_a_room_is_not_published(hub: BlockingHub) -> None:
    from tests.django.shop.models import Order

    order = Order.objects.create(status="secret")
    assert hub.stored(f"orders:{order.pk}") == []


def test_it_may_go_through_the_outbox(hub: BlockingHub) -> None:
    from tests.django.shop.models import Payment
    from trunkline.django.models import OutboxMessage

    Payment.objects.create(amount=7)
    assert hub.stored("payments") == []
    assert OutboxMessage.objects.get().room == "payments"


def test_a_model_that_says_nothing_is_told_what_is_missing() -> None:
    from tests.django.shop.models import Order
    from trunkline.django.published import PublishedModel

    with pytest.raises(NotImplementedError, match="realtime_room"):
        PublishedModel.realtime_room(Order())
    with pytest.raises(NotImplementedError, match="realtime_data"):
        PublishedModel.realtime_data(Order())
