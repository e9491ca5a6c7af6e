"""Within the test clients of Starlette, FastAPI and httpx, which run an application without a server."""

import warnings

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from trunkline import Hub

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says which package it would rather be built on
    from starlette.testclient import TestClient


def _fastapi(hub: Hub) -> FastAPI:
    app = FastAPI(lifespan=hub.lifespan)
    app.mount("/", hub.app)
    return app


HUBS = {
    "alone": lambda hub: hub.app,
    "mounted": lambda hub: Starlette(routes=[Mount("/", hub.app)], lifespan=hub.lifespan),
    "fastapi": _fastapi,
}


@pytest.mark.parametrize("name", HUBS)
def test_leaving_a_websocket_block_raises_nothing(name: str) -> None:
    """However often, while messages are on their way, and while a join waits."""
    hub = Hub("memory:")
    with TestClient(HUBS[name](hub)) as client:
        for n in range(30):
            with client.websocket_connect("/rooms/general") as socket:
                assert socket.receive_json()["type"] == "welcome"
                if n % 3:
                    assert socket.receive_json()["type"] == "joined"
                    socket.send_json({"type": "message", "text": "hi"})
                if n % 3 == 2:
                    assert {socket.receive_json()["type"] for _ in range(2)} == {"ack", "message"}
        with pytest.raises(ZeroDivisionError), client.websocket_connect("/rooms/general"):
            raise ZeroDivisionError  # what the test itself raises comes out
        assert client.get("/rooms/general?since=start&wait=1").json()["head"] == 20
        assert client.get("/rooms/empty?since=start&wait=1").json()["messages"] == []
        assert client.post("/rooms/general", json={"data": 1}).status_code == 201


async def test_httpx() -> None:
    """Its transport cancels nothing, and waits for the whole answer."""
    async with Hub("memory:") as hub:
        transport = httpx.ASGITransport(hub.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.post("/rooms/r", json={"data": 1})).status_code == 201
            assert (await client.get("/rooms/r?since=start&wait=5")).json()["messages"][0]["data"] == 1
            assert (await client.get("/rooms/r?wait=1")).status_code == 200
