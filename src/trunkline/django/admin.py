"""Pages of Django's admin: the rooms of the log, and what waits in the outbox."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.template.response import TemplateResponse
from django.urls import path

from trunkline.client import ClientError
from trunkline.django.models import OutboxMessage, Room
from trunkline.django.reports import room_page, rooms_page
from trunkline.errors import TrunklineError
from trunkline.remote import RemoteError


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin):
    """The rooms: to look at. What operators do to them is in Trunkline's own dashboard."""

    def has_add_permission(self, request: Any) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[Any]:
        shown = self.admin_site.admin_view(self.show_room)
        listed = self.admin_site.admin_view(self.changelist_view)
        return [
            path("", listed, name="trunkline_room_changelist"),
            path("<str:room>/", shown, name="trunkline_room_show"),
        ]

    def changelist_view(self, request: Any, extra_context: Any = None) -> TemplateResponse:
        """Show a page of rooms."""
        prefix, after = request.GET.get("prefix", ""), request.GET.get("after", "")
        return self._page(
            request,
            "admin/trunkline/rooms.html",
            {"title": "Rooms", "prefix": prefix} | (extra_context or {}),
            lambda: {"page": _with_times(rooms_page(prefix, after))},
        )

    def show_room(self, request: Any, room: str) -> TemplateResponse:
        """Show the newest messages of a room."""

        def found() -> dict[str, Any]:
            page = room_page(room)
            for message in page["messages"]:
                message["at"] = _time(message["at"])
                message["text"] = msgspec.json.encode(message["data"]).decode()
            return {"page": page}

        return self._page(request, "admin/trunkline/room.html", {"title": room, "room": room}, found)

    def _page(self, request: Any, template: str, context: dict[str, Any], find: Any) -> TemplateResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        try:
            context |= find()
        except (TrunklineError, ClientError, RemoteError, TimeoutError) as error:
            if getattr(error, "code", "") == "bad_room":
                raise Http404(str(error)) from None
            messages.error(request, f"The rooms cannot be read now: {error}")
        return TemplateResponse(request, template, context)


@admin.register(OutboxMessage)
class OutboxMessageAdmin(admin.ModelAdmin):
    """What waits in the outbox, and what was refused."""

    list_display = ("number", "room", "sender", "at", "refused")
    list_filter = (("refused", admin.EmptyFieldListFilter),)
    search_fields = ("room", "id")
    actions: ClassVar[Sequence[str]] = ("publish_again",)

    def has_add_permission(self, request: Any) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)

    @admin.action(description="Publish again what was refused", permissions=["change"])
    def publish_again(self, request: Any, queryset: Any) -> None:
        """Let the relay try these once more."""
        count = queryset.exclude(refused=None).update(refused=None)
        self.message_user(request, f"{count} messages will be published again.")


def _with_times(page: dict[str, Any]) -> dict[str, Any]:
    for room in page["rooms"]:
        room["at"] = _time(room["at"])
    return page


def _time(at_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC)
