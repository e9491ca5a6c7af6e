"""The site's sessions are the rooms' sessions, too."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.client import ClientError
from trunkline.testing import BlockingHub

TRANSPORTS = ["websocket", "sse", "longpoll", "shortpoll"]


def signed_in(user: Any) -> tuple[Any, dict[str, str]]:
    """A browser of the user, and its cookies."""
    from django.test import Client

    browser = Client()
    browser.force_login(user)
    return browser, {"sessionid": browser.cookies["sessionid"].value}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_user_of_the_session_is_known(hub: BlockingHub, ada: Any, transport: str) -> None:
    from trunkline.django import publish

    _, cookies = signed_in(ada)
    room = f"inbox:{ada.pk}"
    reader = hub.reader(room, cookies=cookies, transport=transport)
    publish(room, "hello")
    reader.expect("hello")
    reader.publish("and back")
    reader.expect("and back", sender=str(ada.pk))
    with pytest.raises(ClientError, match="may not read"):
        hub.reader("inbox:0", cookies=cookies, transport=transport)
    for nobody in ({}, {"sessionid": "x" * 32}):
        with pytest.raises(ClientError, match="log in again|authenticate first"):
            hub.reader(room, cookies=nobody, transport=transport)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_who_signs_out_is_gone_from_the_rooms_and_only_that_session(hub: BlockingHub, ada: Any, transport: str) -> None:
    browser, cookies = signed_in(ada)
    _, of_the_phone = signed_in(ada)
    room = f"inbox:{ada.pk}"
    reader = hub.reader(room, cookies=cookies, transport=transport)
    phone = hub.reader(room, cookies=of_the_phone, transport=transport)
    browser.get("/sign-out")
    hub.until(lambda: reader.state == "closed")
    from trunkline.django import publish

    publish(room, "still here")
    phone.expect("still here")


def test_a_user_who_is_not_active_any_more_is_nobody(hub: BlockingHub, ada: Any) -> None:
    _, cookies = signed_in(ada)
    ada.is_active = False
    ada.save()
    with pytest.raises(ClientError):
        hub.reader(f"inbox:{ada.pk}", cookies=cookies)


def test_a_stream_ends_with_its_session(hub: BlockingHub, ada: Any) -> None:
    browser, cookies = signed_in(ada)
    session = browser.session
    session.set_expiry(60)
    session.save()
    reader = hub.reader(f"inbox:{ada.pk}", cookies=cookies, transport="sse")
    hub.tick(90)
    hub.until(lambda: reader.state == "closed")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("what", ["deleted", "inactive", "password", "another"])
def test_a_stream_ends_when_the_site_would_not_know_the_user_any_more(
    hub: BlockingHub, ada: Any, what: str, transport: str
) -> None:
    """Nobody tells of these, so the sessions are looked at."""
    browser, cookies = signed_in(ada)
    reader = hub.reader(f"inbox:{ada.pk}", cookies=cookies, transport=transport)
    _, others = signed_in(ada)
    other = hub.reader(f"inbox:{ada.pk}", cookies=others, transport=transport)
    if what == "deleted":
        browser.session.delete()
    elif what == "another":
        from django.contrib.auth import get_user_model

        browser.force_login(get_user_model().objects.create_user("bob"))
    elif what == "inactive":
        ada.is_active = False
        ada.save()
    else:
        ada.set_password("another")
        ada.save()
    hub.until(lambda: reader.state == "closed", within_s=600)
    if what in ("deleted", "another"):
        other.refute()  # which is online


def test_a_stream_goes_on_under_other_permissions(hub: BlockingHub, ada: Any) -> None:
    from django.test.utils import override_settings

    from trunkline.django.conf import get_settings

    _, cookies = signed_in(ada)
    room = f"inbox:{ada.pk}"
    reader = hub.reader(room, cookies=cookies)
    key = get_settings().key
    with override_settings(TRUNKLINE={"STORE": "memory:", "SECRET": key, "PERMISSIONS": {"read": ["other"]}}):
        hub.tick(130)
    reader.expect_error("forbidden")
    assert reader.state == "online"


def test_signing_out_counts_when_the_key_of_the_session_has_changed(hub: BlockingHub, ada: Any) -> None:
    browser, cookies = signed_in(ada)
    reader = hub.reader(f"inbox:{ada.pk}", cookies=cookies)
    session = browser.session
    session.cycle_key()
    session.save()
    browser.cookies["sessionid"] = session.session_key
    browser.get("/sign-out")
    hub.until(lambda: reader.state == "closed")


def test_clients_without_a_user_may_do_what_the_setting_says(hub: BlockingHub) -> None:
    from django.test.utils import override_settings

    from tests.django.site import application
    from trunkline.django.rooms import get_hub

    given = {"STORE": "memory:", "ANONYMOUS": {"read": ["public:*"]}}
    with override_settings(TRUNKLINE=given), BlockingHub(get_hub(), application()) as site:
        reader = site.reader("public:1", headers={"X": "y"})
        site.publish("public:1", "for all")
        reader.expect("for all")
        with pytest.raises(ClientError, match="may not read"):
            site.reader("inbox:1", headers={"X": "y"})
