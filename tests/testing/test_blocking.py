"""Tests that are no coroutines: within the test clients of Starlette, FastAPI and Django, and by themselves."""

import unittest
import warnings
from typing import Any

import pytest
from django.http import HttpRequest, JsonResponse
from django.urls import path
from fastapi import FastAPI

from tests.django.site import configure
from trunkline import Hub
from trunkline.client import RoomError
from trunkline.errors import WrongLoop
from trunkline.testing.blocking import BlockingHub
from trunkline.testing.hub import TestHub

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says which package it would rather be built on
    from starlette.testclient import TestClient

shop = Hub("memory:")


def ship(request: HttpRequest, order: int) -> JsonResponse:
    receipt = shop.publish_sync(f"orders:{order}", {"status": "shipped"}, id=f"shipped-{order}")
    return JsonResponse({"offset": receipt.offset})


urlpatterns = [path("orders/<int:order>/ship", ship)]


@pytest.fixture(scope="module", autouse=True)
def configured() -> None:
    configure()


@pytest.mark.transports
def test_djangos_test_client(trunkline_transport: str) -> None:
    from django.test import Client
    from django.test.utils import override_settings

    with BlockingHub(shop, transport=trunkline_transport) as hub, override_settings(ROOT_URLCONF=__name__):
        customer = hub.reader("orders:7", user="ada")
        with customer.cut():
            assert Client().post("/orders/7/ship").json() == {"offset": 1}
            assert Client().post("/orders/7/ship").json() == {"offset": 1}
        customer.expect({"status": "shipped"})
        customer.refute()


class DjangoStyle(unittest.TestCase):
    """A class with setUp, as Django's TestCase is one."""

    def setUp(self) -> None:
        self.hub = self.enterContext(BlockingHub(shop))

    def test_each_test_has_its_own_log(self) -> None:
        shop.publish_sync("r", 1)
        self.hub.reader("r").expect(1)
        assert [message.offset for message in self.hub.stored("r")] == [1]

    def test_each_test_has_its_own_log_again(self) -> None:
        shop.publish_sync("r", 1)
        assert [message.offset for message in self.hub.stored("r")] == [1]


class AsyncStyle(unittest.IsolatedAsyncioTestCase):
    """The standard library's own async tests."""

    async def test_a_coroutine(self) -> None:
        async with TestHub(shop) as hub:
            reader = await hub.reader("r")
            await shop.publish("r", 1)
            await reader.expect(1)


def _application(own: Hub) -> FastAPI:
    app = FastAPI(lifespan=own.lifespan)
    app.mount("/realtime", own.app)

    @app.post("/ship")
    async def ship_one() -> dict[str, int]:
        return {"offset": (await own.publish("orders", "shipped")).offset}

    @app.post("/pack")
    def pack_one() -> dict[str, int]:
        return {"offset": own.publish_sync("orders", "packed").offset}

    return app


def test_fastapis_test_client() -> None:
    """On its event loop, with its lifespan; more than once."""
    own = Hub("memory:")
    app = _application(own)
    with BlockingHub(own, app) as hub:
        for _ in range(2):
            with TestClient(app) as client:
                customer = hub.reader("orders", user="ada", transport="sse", since="now")
                client.post("/pack")
                customer.expect("packed")
                with customer.cut():
                    client.post("/ship")
                customer.expect("shipped")
                with client.websocket_connect("/realtime/rooms/orders?since=start") as socket:
                    assert [socket.receive_json()["type"] for _ in range(3)] == ["welcome", "joined", "message"]
        assert len(hub.stored("orders")) == 4


def test_everything_that_a_reader_does() -> None:
    with BlockingHub(presence_grace_s=1.0) as hub:
        reader = hub.reader("r", user="ada", presence=True, expires_in_s=60)
        assert reader.publish(1) == 1
        assert reader.repeat().duplicate
        reader.expect(1)
        reader.expect_presence("ada")
        reader.expire_token()
        reader.reset()
        reader.slow()
        reader.reconnect()
        hub.publish("r", 2, user="bob")
        reader.expect(2, sender="bob")
        hub.restart()
        with reader.cut():
            hub.publish("r", 3)
            hub.publish("r", 4)
            hub.trim("r", keep=1)
        reader.expect_gap("trimmed")
        reader.expect(4)
        reader.refute()
        hub.tick(120)
        hub.until(lambda: reader.state == "online")
        assert reader.data == [1, 2, 4]
        with hub.store.away():
            pass
        reader.close()
        assert reader.state == "closed"


def test_what_is_wrong_is_told_as_to_a_coroutine() -> None:
    with BlockingHub() as hub:
        reader = hub.reader("r")
        with pytest.raises(AssertionError, match="nothing came within 5 s") as failed:
            reader.expect(1)
        assert failed.value.__cause__ is None
        with pytest.raises(AssertionError, match="the error forbidden"):
            reader.expect_error("forbidden", within_s=1)
        with pytest.raises(AssertionError, match="the signal typing"):
            reader.expect_signal("typing", within_s=1)
        with pytest.raises(RoomError, match="bad_room|room"):
            hub.reader("no room at all")


def test_signals_are_heard() -> None:
    with BlockingHub() as hub:
        reader, other = hub.reader("r"), hub.reader("r")
        other.signal("typing", 1)
        assert reader.expect_signal("typing")["data"] == 1


async def test_in_a_coroutine_it_is_the_other_fixture(blocking_hub: BlockingHub) -> None:
    with pytest.raises(RuntimeError, match="take the fixture `hub`, and await what it does"):
        blocking_hub.reader("r")


def test_a_testclient_is_entered_first() -> None:
    own = Hub("memory:")
    app = _application(own)
    with BlockingHub(own, app) as hub:
        hub.reader("r")
        with pytest.raises(WrongLoop, match=r"`with TestClient\(app\)`"), TestClient(app):
            pass


@pytest.fixture
async def database() -> int:
    return 1


@pytest.fixture
async def customer(database: int, hub: TestHub) -> Any:
    return await hub.reader("orders:7")


def test_async_fixtures_of_a_test_that_is_no_coroutine(customer: Any) -> None:
    """The event loop stands still between the fixtures' steps, and the hub is closed on it all the same."""
    assert customer.state == "online"
