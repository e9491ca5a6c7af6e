"""Publishing from Django: now, on commit, in time."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import jwt
import pytest

from tests.support import Server
from trunkline import StoreUnavailable
from trunkline.client import ClientError
from trunkline.testing import BlockingHub


def test_publish_returns_the_offset(hub: BlockingHub) -> None:
    from trunkline.django import publish

    assert publish("r", {"n": 1}, id="a", sender="7") == 1
    assert publish("r", {"n": 1}, id="a", sender="7") == 1
    assert [(message.data, message.sender) for message in hub.stored("r")] == [({"n": 1}, "7")]


def test_it_is_published_when_the_transaction_is_committed(hub: BlockingHub) -> None:
    from django.db import transaction

    from trunkline.django import publish_on_commit

    with transaction.atomic():
        publish_on_commit("r", 1)
        assert hub.stored("r") == []
    assert [message.data for message in hub.stored("r")] == [1]
    publish_on_commit("r", 2)  # outside of a transaction: now
    assert [message.data for message in hub.stored("r")] == [1, 2]


def test_it_is_not_published_when_the_transaction_is_rolled_back(hub: BlockingHub) -> None:
    from django.db import transaction

    from trunkline.django import publish_on_commit

    def fail() -> None:
        with transaction.atomic():
            publish_on_commit("r", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert hub.stored("r") == []


def test_a_log_that_is_away_on_commit_is_logged_and_nothing_fails(
    hub: BlockingHub, caplog: pytest.LogCaptureFixture
) -> None:
    from django.db import transaction

    from trunkline.django import publish_on_commit

    with hub.store.away(), caplog.at_level(logging.ERROR, "trunkline"), transaction.atomic():
        publish_on_commit("r", 1)
    assert "a message of r was not published on commit" in caplog.text


def test_an_asynchronous_view_publishes_on_the_loop_of_the_hub_too(hub: BlockingHub) -> None:
    from trunkline.django import apublish

    assert asyncio.run(apublish("r", 1)) == 1


def test_where_a_room_stands(hub: BlockingHub) -> None:
    from trunkline.django import position, publish

    publish("r", 1)
    since = position("r")
    publish("r", 2)
    ada = hub.reader("r", user="ada", since=since)
    ada.expect(2)
    ada.refute()


def test_a_token_is_good_for_the_site_s_own_rooms(hub: BlockingHub, ada: Any) -> None:
    from trunkline.django import publish, token_for

    reader = hub.reader(f"inbox:{ada.pk}", token=token_for(ada))
    publish(f"inbox:{ada.pk}", "hello")
    reader.expect("hello")
    with pytest.raises(ClientError, match="may not read"):
        hub.reader("inbox:0", token=token_for(ada))


def test_publishing_waits_no_longer_than_its_time(hub: BlockingHub) -> None:
    from trunkline.django import publish

    with hub.store.away(), pytest.raises((TimeoutError, StoreUnavailable)):
        publish("r", 1)


class TestBesideAServer:
    """`TRUNKLINE = {"URL": …}`: what is published goes to a server."""

    @pytest.fixture(autouse=True)
    def settings(self) -> Any:
        from django.test.utils import override_settings

        from trunkline.django.conf import get_settings

        secret = get_settings().key
        with Server("--auth", "jwt", environment={"TRUNKLINE_JWT__SECRET": secret}) as server:
            given = {
                "URL": server.url,
                "PERMISSIONS": {"read": ["inbox:{user}"]},
                "PUBLIC_URL": "https://rooms.example",
            }
            with override_settings(TRUNKLINE=given):
                yield

    def test_publish_and_position(self, ada: Any) -> None:
        from trunkline.django import position, publish

        assert publish("r", 1) == 1
        assert publish("r", 2, id="b", sender=str(ada.pk)) == 2
        assert position("r").endswith(".2")

    def test_a_token_says_what_its_user_may_do(self, ada: Any) -> None:
        from trunkline.django import token_for

        claims = jwt.decode(token_for(ada), options={"verify_signature": False})
        assert claims["sub"] == str(ada.pk)
        assert claims["rooms"] == {"read": [f"inbox:{ada.pk}"]}

    def test_the_page_says_where_the_rooms_are(self) -> None:
        from django.test import Client

        text = Client().get("/page").content.decode()
        assert '"url":"https://rooms.example"' in text
        assert "https://rooms.example/client/page.js" in text
        assert '"token_url":"/trunkline/token"' in text
        assert '"token":' not in text


def test_a_server_that_does_not_answer_holds_up_a_request_for_two_seconds() -> None:
    """It accepts connections, and says nothing."""
    import socket

    from django.test.utils import override_settings

    from trunkline.django import publish

    with socket.create_server(("127.0.0.1", 0)) as silent:
        given = {"URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        began = time.monotonic()
        with override_settings(TRUNKLINE=given), pytest.raises(ClientError) as error:
            publish("r", 1)
    assert error.value.code == "timeout"
    assert 1.5 < time.monotonic() - began < 4
