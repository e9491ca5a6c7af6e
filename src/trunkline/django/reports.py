"""What the admin's pages show of the log: asked of the hub in this process, or of the server beside it."""

from __future__ import annotations

from typing import Any

import msgspec

from trunkline.client.deadline import within
from trunkline.django.conf import get_settings
from trunkline.django.rooms import backend, get_hub
from trunkline.hub import run_sync

REPORT_S = 5.0
SHOWN = 50


def rooms_page(prefix: str, after: str) -> dict[str, Any]:
    """Return a page of rooms whose names begin with *prefix* and are behind *after*: `rooms`, and `next`.

    Raises:
        TrunklineError, RemoteError, ClientError, TimeoutError: They cannot be read.
    """
    if get_settings().store is None:
        return within(REPORT_S, lambda: backend().operator.rooms_page(prefix, after, SHOWN))
    hub = get_hub()
    page = run_sync(hub, lambda: hub.admin.rooms(prefix, after=after, limit=SHOWN), REPORT_S)
    return {"rooms": [msgspec.to_builtins(room) for room in page.rooms], "next": page.next}


def room_page(room: str) -> dict[str, Any]:
    """Return the newest messages of a room: `room`, `head` and `messages`.

    Raises:
        RequestError: No room has such a name.
        TrunklineError, RemoteError, ClientError, TimeoutError: It cannot be read.
    """
    if get_settings().store is None:
        return within(REPORT_S, lambda: backend().operator.room(room, SHOWN))
    hub = get_hub()
    page = run_sync(hub, lambda: hub.page(room, last=SHOWN, limit=SHOWN), REPORT_S)
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(page))
    return found
