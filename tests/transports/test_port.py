"""The stream in the docstring of the port works."""

import asyncio
import textwrap
from typing import Any

from tests.support import WAIT_S
from trunkline import Hub
from trunkline.core.batch import Batch, Notification
from trunkline.core.cursor import Cursor
from trunkline.core.grant import UNAUTHENTICATED
from trunkline.core.position import Gap, Start
from trunkline.errors import RequestError, TrunklineError
from trunkline.hub import context_of
from trunkline.transports import port
from trunkline.transports.context import Context
from trunkline.transports.stream import Stream


def list_stream() -> Any:
    names: dict[str, Any] = {
        "Batch": Batch, "Context": Context, "Cursor": Cursor, "Gap": Gap, "Notification": Notification,
        "Stream": Stream, "TrunklineError": TrunklineError,
    }  # fmt: skip
    assert port.__doc__ is not None
    exec(textwrap.dedent(port.__doc__.partition("beginning:\n")[2]), names)
    return names["ListStream"]


async def test_the_example() -> None:
    async with Hub("memory:") as hub:
        stream = list_stream()(context_of(hub))
        stream.grant = UNAUTHENTICATED
        stream.opened()
        await hub.publish("r", 1)
        room = await hub._engine.follower.open("r")
        cursor, _ = hub._engine.delivery.join(stream, room, Start("start"))
        stream.attach([cursor])
        await hub.publish("r", 2)
        async with asyncio.timeout(WAIT_S):
            while len(stream.sent) < 2:
                await asyncio.sleep(0)
        assert [message.offset for message in stream.sent] == [1, 2]
        assert hub.statistics()["connections"] == 1
        stream.dismiss(RequestError("disconnected", "enough"))
        assert stream.sent[-1] == "disconnected"
        await hub.publish("r", 3)
        assert len(stream.sent) == 3
        assert hub.statistics()["connections"] == 0
