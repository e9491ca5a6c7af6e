"""The rim of event streams and polls: what it does with what its driver and its session say."""

import asyncio
from typing import Any, cast

from trunkline.client.http import HttpLink
from trunkline.client.http_driver import HttpDriver
from trunkline.client.websocket import Wire


class Session:
    """Fails at each event, and notes why the connection is down."""

    def __init__(self) -> None:
        self.downs: list[dict[str, Any]] = []

    def event(self, event: dict[str, Any]) -> None:
        raise RuntimeError(f"cannot take {event}")

    def down(self, down: dict[str, Any]) -> None:
        self.downs.append(down)


class Driver:
    """Has one event to tell, and a request to abort at the end."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def step(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        self.given.append(given["type"])
        if given["type"] == "close":
            return [{"do": "cancel"}]
        return [{"do": "event", "event": {"type": "welcome"}}, {"do": "heard"}]


async def test_a_session_that_cannot_take_an_event_gets_a_new_connection() -> None:
    session, driver = Session(), Driver()
    link = HttpLink(cast("Wire", session), cast("HttpDriver", driver))
    await asyncio.sleep(0)
    assert driver.given == ["start", "close"]
    assert [down["reason"] for down in session.downs] == ["internal"]
    link.close()
