"""A site with empty tables, and rooms with an empty log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.django.site import application, configure


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    configure()
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.models import Session
    from django.db import connections

    from tests.django.shop.models import Order, Payment
    from trunkline.django import rooms
    from trunkline.django.models import OutboxMessage

    rooms.get_hub.cache_clear()
    yield
    for model in (OutboxMessage, Order, Payment, Session, get_user_model()):
        model.objects.all().delete()
    connections.close_all()


@pytest.fixture
def ada() -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.create_user("ada", password="ada")


@pytest.fixture
def hub(_site: None) -> Iterator[Any]:
    """The rooms of the site, under test."""
    from trunkline.django.rooms import get_hub
    from trunkline.testing import BlockingHub

    with BlockingHub(get_hub(), application()) as hub:
        yield hub
