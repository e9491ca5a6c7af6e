"""A model that says in a room what has become of its rows."""

from __future__ import annotations

from typing import Any

from django.db import models

from trunkline.django.outbox import publish_later
from trunkline.django.published import PublishedModel


class Order(PublishedModel, models.Model):
    """Published when it is committed."""

    status = models.CharField(max_length=20)

    def __str__(self) -> str:
        return self.status

    def realtime_room(self) -> str | None:
        return None if self.status == "secret" else f"orders:{self.pk}"

    def realtime_data(self) -> Any:
        return {"status": self.status}


class Payment(PublishedModel, models.Model):
    """Written into the outbox with it."""

    publish_with = staticmethod(publish_later)
    amount = models.IntegerField()

    def __str__(self) -> str:
        return str(self.amount)

    def realtime_room(self) -> str | None:
        return "payments"

    def realtime_data(self) -> Any:
        return self.amount
