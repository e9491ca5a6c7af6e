"""The endpoints of the protocol by method and path: what every caller of them looks up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from trunkline.transports.context import Context
from trunkline.transports.endpoints import admin, health, presence, publishing, reading
from trunkline.transports.endpoints.reading import Outcoming
from trunkline.transports.exchange import Exchange

Endpoint = Callable[[Context, Exchange], Outcoming]

ENDPOINTS: list[tuple[str, str, Endpoint]] = [
    ("GET", "/rooms/{room}", reading.read_room),
    ("POST", "/rooms/{room}", publishing.publish_one),
    ("POST", "/rooms/{room}/signals", presence.send_signal),
    ("GET", "/rooms/{room}/presence", presence.list_members),
    ("DELETE", "/rooms/{room}/presence", presence.leave),
    ("GET", "/rooms/{room}/seen", presence.list_read_marks),
    ("POST", "/rooms/{room}/seen", presence.mark_seen),
    ("GET", "/unread", presence.count_unread),
    ("GET", "/connect", reading.connect),
    ("POST", "/publish", publishing.publish_list),
    ("POST", "/tickets", admin.issue_ticket),
    ("POST", "/sessions/{session}/auth", admin.renew),
    ("POST", "/disconnect", admin.disconnect),
    ("POST", "/revoke", admin.revoke),
    ("GET", "/whoami", admin.whoami),
    ("GET", "/healthz", health.health),
    ("GET", "/livez", health.alive),
    ("GET", "/readyz", health.ready),
]
"""Method, path and endpoint; HEAD is answered like GET."""

STARTS_NOTHING = ("/healthz", "/livez")
"""Endpoints that do not start a hub that nothing has started."""

_BY_SHAPE = {
    (method, path.replace("{room}", "{}").replace("{session}", "{}")): (path, endpoint)
    for method, path, endpoint in ENDPOINTS
}


class Found(NamedTuple):
    """An endpoint, and the named parts of the path that has led to it."""

    path: str
    endpoint: Endpoint
    parameters: Mapping[str, str]


def find(method: str, path: str) -> Found | None:
    """Return the endpoint of a request; None if there is none.

    Args:
        path: Decoded.
    """
    if path.startswith("/rooms/") and "/" not in (room := path[len("/rooms/") :]):
        found = _BY_SHAPE.get((method, "/rooms/{}")) if room else None
        return None if found is None else Found(*found, {"room": room})
    found = _BY_SHAPE.get((method, path))
    if found is not None:
        return Found(*found, {})
    parts = path.split("/")
    if len(parts) < 3 or not parts[2]:
        return None
    name, parts[2] = parts[2], "{}"
    found = _BY_SHAPE.get((method, "/".join(parts)))
    if found is None:
        return None
    return Found(*found, {"room" if parts[1] == "rooms" else "session": name})
