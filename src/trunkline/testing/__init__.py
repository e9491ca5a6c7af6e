"""What tests of applications that use rooms need (docs/testing.md), and the contracts of stores and transports.

It needs `pip install trunkline[testing]`. With pytest, the fixture `hub` is a `TestHub`:

    async def test_hears_it(hub):
        reader = await hub.reader("orders:7", user="ada")
        await hub.publish("orders:7", {"status": "shipped"})
        await reader.expect({"status": "shipped"})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trunkline.testing.blocking import BlockingHub, BlockingReader
    from trunkline.testing.fault import Fault
    from trunkline.testing.hub import TRANSPORTS, TestHub
    from trunkline.testing.live_server import LiveServer
    from trunkline.testing.proxy import Proxy
    from trunkline.testing.reader import Reader
    from trunkline.testing.store import VirtualStore
    from trunkline.testing.virtual_clock import VirtualClock

__all__ = [
    "TRANSPORTS",
    "BlockingHub",
    "BlockingReader",
    "Fault",
    "LiveServer",
    "Proxy",
    "Reader",
    "TestHub",
    "VirtualClock",
    "VirtualStore",
]

_MODULES = {
    "TRANSPORTS": "hub",
    "BlockingHub": "blocking",
    "BlockingReader": "blocking",
    "Fault": "fault",
    "LiveServer": "live_server",
    "Proxy": "proxy",
    "Reader": "reader",
    "TestHub": "hub",
    "VirtualClock": "virtual_clock",
    "VirtualStore": "store",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"trunkline.testing.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}: the test kit needs aiohttp: pip install 'trunkline[testing]'") from None
