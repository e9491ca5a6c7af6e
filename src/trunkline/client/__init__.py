"""Clients that never lose a message.

`connect` follows rooms, publishes and calls, and `consume` is a durable consumer, on asyncio; they need
`pip install trunkline[client]`. `publish` and `call` block, and need nothing:

    from trunkline.client import publish

    publish("http://localhost:8000", "orders", {"paid": 42})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trunkline.client.blocking import call, publish
from trunkline.client.errors import ClientError, RoomError

if TYPE_CHECKING:
    from trunkline.client.client import Client, Message, Room, connect
    from trunkline.client.consumer import ConsumedMessage, consume
    from trunkline.client.tracing import process_span

__all__ = [
    "Client", "ClientError", "ConsumedMessage", "Message", "Room", "RoomError", "call", "connect", "consume",
    "process_span", "publish",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "process_span":
        from trunkline.client.tracing import process_span  # noqa: PLC0415 - nor does all that publishes need it

        return process_span
    try:
        from trunkline.client import client, consumer  # noqa: PLC0415 - aiohttp is for those who connect
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}: connecting needs aiohttp: pip install 'trunkline[client]'") from None
    return getattr(consumer if name in ("ConsumedMessage", "consume") else client, name)
