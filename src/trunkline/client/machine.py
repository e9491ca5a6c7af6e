"""What a client needs of the machine it runs on: sockets, time and chance."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

import aiohttp


def _open_http() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


class Machine(NamedTuple):
    """A machine; tests run clients on another one.

    Attributes:
        open_http: Returns what connections are made with; called on the event loop, and closed by the client.
        now_s: Returns seconds since 1970 UTC.
        random: Returns a number from 0 to 1, for jitter.
    """

    open_http: Callable[[], aiohttp.ClientSession] = _open_http
    now_s: Callable[[], float] = time.time
    random: Callable[[], float] = random.random


THIS_MACHINE = Machine()
