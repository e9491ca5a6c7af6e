"""The tables of the outbox."""

from __future__ import annotations

from django.db import models

from trunkline.core.message import SENDER_MAX


class OutboxMessage(models.Model):
    """A message that `publish_later` has written, and that is still to be published."""

    number = models.BigAutoField(primary_key=True)
    room = models.CharField(max_length=255)
    id = models.CharField(max_length=255)
    sender = models.CharField(max_length=SENDER_MAX, null=True)
    data = models.TextField()
    at = models.DateTimeField(auto_now_add=True)
    refused = models.TextField(null=True, blank=True)

    class Meta:
        verbose_name = "message of the outbox"
        verbose_name_plural = "messages of the outbox"

    def __str__(self) -> str:
        return f"{self.room} {self.id}"


class OutboxLock(models.Model):
    """What transactions lock that publish in a room, so that its messages are in the order of commits."""

    shard = models.IntegerField(primary_key=True)

    class Meta:
        verbose_name = "lock of the outbox"
        verbose_name_plural = "locks of the outbox"

    def __str__(self) -> str:
        return str(self.shard)


class Room(models.Model):
    """A room of the log, for the admin's pages: there is no table of them."""

    name = models.CharField(max_length=255, primary_key=True)

    class Meta:
        managed = False
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name
