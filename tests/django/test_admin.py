"""The admin's pages."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.testing import BlockingHub


@pytest.fixture
def admin(ada: Any) -> Any:
    from django.test import Client

    ada.is_staff = ada.is_superuser = True
    ada.save()
    browser = Client()
    browser.force_login(ada)
    return browser


def test_rooms_and_their_messages_are_shown(hub: BlockingHub, admin: Any) -> None:
    from trunkline.django import publish

    assert "There are no rooms" in admin.get("/admin/trunkline/room/").content.decode()
    for n in range(60):
        publish(f"room:{n:02}", {"text": f"<b>{n}</b>"}, sender="ada")
    text = admin.get("/admin/trunkline/room/").content.decode()
    assert "room:49" in text
    assert "room:50" not in text
    assert "?prefix=&amp;after=room%3A49" in text
    assert "room:59" in admin.get("/admin/trunkline/room/?after=room:49").content.decode()
    assert "whose names begin with" in admin.get("/admin/trunkline/room/?prefix=none").content.decode()
    shown = admin.get("/admin/trunkline/room/room:07/").content.decode()
    assert "&lt;b&gt;7&lt;/b&gt;" in shown
    assert "<b>7" not in shown
    assert admin.get("/admin/trunkline/room/no room/").status_code == 404


def test_who_may_not_see_rooms_does_not(hub: BlockingHub, ada: Any) -> None:
    from django.test import Client

    browser = Client()
    ada.is_staff = True
    ada.save()
    browser.force_login(ada)
    for path in ("", "r/"):
        assert browser.get(f"/admin/trunkline/room/{path}").status_code == 403
        assert Client().get(f"/admin/trunkline/room/{path}").status_code == 302


def test_a_log_that_is_away_is_said(hub: BlockingHub, admin: Any) -> None:
    with hub.store.away():
        text = admin.get("/admin/trunkline/room/r/").content.decode()
    assert "cannot be read now" in text


def test_what_was_refused_can_be_published_again(hub: BlockingHub, admin: Any) -> None:
    from trunkline.django.models import OutboxMessage

    row = OutboxMessage.objects.create(room="r", id="a", data="1", refused="too large")
    text = admin.get("/admin/trunkline/outboxmessage/").content.decode()
    assert "too large" in text
    given = {"action": "publish_again", "_selected_action": [row.pk]}
    admin.post("/admin/trunkline/outboxmessage/", given)
    row.refresh_from_db()
    assert row.refused is None
    row.delete()
