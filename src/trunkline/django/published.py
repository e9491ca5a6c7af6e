"""A mixin for models that say in a room what has become of their rows."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models, router, transaction

from trunkline.django.rooms import publish_on_commit


class PublishedModel(models.Model):
    """A mixin: a row that was saved or deleted is published in a room when the transaction is committed.

    What goes past `save` and `delete` is not seen: `QuerySet.update`, bulk operations, SQL.
    """

    publish_with: ClassVar[Any] = staticmethod(publish_on_commit)
    """`publish_on_commit`, or `staticmethod(publish_later)` for what must not be lost."""

    class Meta:
        abstract = True

    def realtime_room(self) -> str | None:
        """Return the room in which this row is published; None if in none."""
        raise NotImplementedError(f"{type(self).__name__}.realtime_room: say in which room it is published")

    def realtime_data(self) -> Any:
        """Return what is published of it."""
        raise NotImplementedError(f"{type(self).__name__}.realtime_data: say what is published")

    def save(self, *arguments: Any, **options: Any) -> None:
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            super().save(*arguments, **options)
            self._publish("saved", using)

    def delete(self, *arguments: Any, **options: Any) -> Any:
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            self._publish("deleted", using)
            return super().delete(*arguments, **options)

    def _publish(self, what: str, using: str) -> None:
        room = self.realtime_room()
        if room is not None:
            self.publish_with(room, {"event": what, "data": self.realtime_data()}, using=using)
