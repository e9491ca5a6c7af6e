"""How often a WebSocket writes: each write is a system call."""

import asyncio
import json

from trunkline import Hub
from trunkline.core.position import NOW
from trunkline.core.presence_options import NO_PRESENCE
from trunkline.hub import context_of
from trunkline.transports.websocket import WebSocketConnection
from trunkline.wire import websocket as ws
from trunkline.wire.query import LIMIT_DEFAULT, ReadQuery


class Written(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""


class Uncounted:
    key: str | None = None
    address = "127.0.0.1"

    def release(self) -> None:
        """Do nothing."""


def command(**fields: object) -> bytes:
    return ws.masked_frame(ws.Opcode.TEXT, json.dumps(fields).encode(), b"mask")


def kinds(data: bytes) -> list[str]:
    receiver = ws.Receiver(1 << 20, masked=False)
    return [json.loads(event.data)["type"] for event in receiver.feed(data) if isinstance(event, ws.Text)]


async def connected(hub: Hub, *rooms: str) -> tuple[WebSocketConnection, Written]:
    for room in rooms:
        await hub.page(room)  # so that it is open
    transport = Written()
    connection = WebSocketConnection(context_of(hub), transport, Uncounted())
    query = ReadQuery([(room, NOW) for room in rooms], False, NO_PRESENCE, LIMIT_DEFAULT, 0, None)
    connection.begin(b"HTTP/1.1 101 x\r\n\r\n", context_of(hub).access.nothing, query)
    return connection, transport


async def test_the_answer_to_a_handshake_the_welcome_and_what_is_joined_leave_in_one_write() -> None:
    async with Hub("memory:") as hub:
        connection, transport = await connected(hub, "a", "b")
        [first] = transport.writes
        assert kinds(first.partition(b"\r\n\r\n")[2]) == ["welcome", "joined", "joined"]
        connection.connection_lost(None)


async def test_the_acks_of_one_commit_leave_in_one_write() -> None:
    async with Hub("memory:") as hub:
        connection, transport = await connected(hub)
        del transport.writes[:]
        connection.data_received(b"".join(command(type="message", room="r", data=n) for n in range(20)))
        while not transport.writes:
            await asyncio.sleep(0)
        assert [kinds(data) for data in transport.writes] == [["ack"] * 20]
        connection.connection_lost(None)
