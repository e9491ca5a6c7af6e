"""The endpoints of the protocol by method and path: what every caller of them looks up."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from trunkline.transports.context import Context
from trunkline.transports.endpoints import (
    admin,
    calling,
    consuming,
    corrections,
    dashboard,
    health,
    metrics,
    presence,
    publishing,
    reading,
)
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
    ("POST", "/rooms/{room}/redactions", corrections.redact),
    ("POST", "/calls/{name}", calling.call),
    ("GET", "/consumers/{name}", consuming.consume),
    ("POST", "/consumers/{name}/acks", consuming.acknowledge),
    ("GET", "/unread", presence.count_unread),
    ("GET", "/connect", reading.connect),
    ("POST", "/publish", publishing.publish_list),
    ("POST", "/tickets", admin.issue_ticket),
    ("POST", "/sessions/{session}/auth", admin.renew),
    ("POST", "/disconnect", admin.disconnect),
    ("POST", "/revoke", admin.revoke),
    ("GET", "/whoami", admin.whoami),
    ("GET", "/admin/overview", dashboard.overview),
    ("GET", "/admin/rooms", corrections.list_rooms),
    ("GET", "/admin/rooms/{room}", dashboard.room),
    ("DELETE", "/admin/rooms/{room}", corrections.delete_room),
    ("POST", "/admin/erasures", corrections.erase),
    ("POST", "/admin/backups", corrections.back_up),
    ("GET", "/admin/doctor", corrections.examine),
    ("POST", "/admin/epochs", corrections.begin_epochs),
    ("GET", "/admin/erasures", corrections.list_erasures),
    ("GET", "/admin/erasures/{id}", corrections.show_erasure),
    ("GET", "/admin/consumers", consuming.list_consumers),
    ("DELETE", "/admin/consumers/{name}", consuming.delete_consumer),
    ("GET", "/admin/connections", dashboard.connections),
    ("POST", "/admin/follow", dashboard.follow),
    ("POST", "/admin/codes", admin.issue_code),
    ("POST", "/admin/login", admin.sign_in),
    ("GET", "/admin/token", admin.session_token),
    ("POST", "/admin/logout", admin.sign_out),
    ("GET", "/metrics", metrics.scrape),
    ("GET", "/healthz", health.health),
    ("GET", "/livez", health.alive),
    ("GET", "/readyz", health.ready),
]
"""Method, path and endpoint; HEAD is answered like GET."""

STARTS_NOTHING = ("/healthz", "/livez")
"""Endpoints that do not start a hub that nothing has started."""

_PART = re.compile(r"\{(\w+)\}")
_PARTS_AT = (2, 3)  # where the named part of a path can stand
_BY_SHAPE = {(method, _PART.sub("{}", path)): (path, endpoint) for method, path, endpoint in ENDPOINTS}


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
    for at in _PARTS_AT:
        if at < len(parts) and parts[at]:
            found = _BY_SHAPE.get((method, "/".join([*parts[:at], "{}", *parts[at + 1 :]])))
            if found is not None:
                return Found(*found, dict.fromkeys(_PART.findall(found[0]), parts[at]))
    return None
