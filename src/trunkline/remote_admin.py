"""What the command line asks of a running server as an administrator, or as a moderator (`redact`)."""

from __future__ import annotations

import http.client
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from trunkline.remote import CONNECT_S, RemoteError, request

CORRECTION_S = 60.0  # a room of a million messages is not deleted in a moment
ROOMS_AT_ONCE = 500


class Operator:
    """An administrator at a server.

    Args:
        url: The server's, whose path may be that of a mount.
        token: The administrator's.
    """

    def __init__(self, url: str, token: str | None) -> None:
        if not url.startswith(("http://", "https://")):
            raise RemoteError(f"{url!r} is no http:// or https:// address", 2)
        self._url = url.rstrip("/")
        self._token = token

    def room(self, name: str, last: int) -> dict[str, Any]:
        """Return where a room stands, its newest messages, readers and members.

        Raises:
            RemoteError: The server refused it or is not there; so do all of these.
        """
        return self._ask(f"admin/rooms/{urllib.parse.quote(name, safe='')}", {"last": str(last)})

    def connections(self, wanted: Mapping[str, str | None]) -> dict[str, Any]:
        """Return streaming connections on all nodes: of a `user`, readers of a `room`, or that of a `session`."""
        return self._ask("admin/connections", {name: value for name, value in wanted.items() if value is not None})

    def kick(self, user: str) -> dict[str, Any]:
        """End all connections of a user, on all nodes."""
        return self._ask("disconnect", {}, {"user": user})

    def revoke(self, user: str | None, token_id: str | None) -> dict[str, Any]:
        """Refuse what a user was issued until now, or one token; and end the connections made with it."""
        named = {"user": user, "token_id": token_id}
        return self._ask("revoke", {}, {name: value for name, value in named.items() if value is not None})

    def rooms(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Iterate over the pages of all rooms whose names begin with *prefix*."""
        after: str | None = ""
        while after is not None:
            page = self.rooms_page(prefix, after, ROOMS_AT_ONCE)
            yield page
            after = page["next"]

    def rooms_page(self, prefix: str, after: str, limit: int) -> dict[str, Any]:
        """Return a page of the rooms whose names begin with *prefix* and are behind *after*."""
        return self._ask("admin/rooms", {"prefix": prefix, "after": after, "limit": str(limit)})

    def redact(self, room: str, offsets: list[int], epoch: str | None) -> dict[str, Any]:
        """Take the data of messages away, for all readers and for good."""
        body = {"offsets": offsets} if epoch is None else {"offsets": offsets, "epoch": epoch}
        return self._ask(f"rooms/{urllib.parse.quote(room, safe='')}/redactions", {}, body, timeout_s=CORRECTION_S)

    def delete(self, room: str) -> dict[str, Any]:
        """Delete a room."""
        address = f"admin/rooms/{urllib.parse.quote(room, safe='')}"
        return self._ask(address, {}, method="DELETE", timeout_s=CORRECTION_S)

    def erase(self, user: str) -> dict[str, Any]:
        """Begin to erase a user; return the job."""
        return self._ask("admin/erasures", {}, {"user": user})

    def code(self) -> dict[str, Any]:
        """Return a one-time code for the dashboard."""
        return self._ask("admin/codes", {}, {})

    def consumers(self) -> dict[str, Any]:
        """Return all durable consumers, and how far they are."""
        return self._ask("admin/consumers", {}, timeout_s=CORRECTION_S)

    def delete_consumer(self, name: str) -> None:
        """Forget a durable consumer."""
        self._ask(f"admin/consumers/{urllib.parse.quote(name, safe='')}", {}, method="DELETE")

    def erasure(self, erasure_id: str) -> dict[str, Any]:
        """Return where an erasure stands."""
        return self._ask(f"admin/erasures/{erasure_id}", {})

    def _ask(
        self,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        *,
        method: str | None = None,
        timeout_s: float = CONNECT_S,
    ) -> dict[str, Any]:
        address = f"{self._url}/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        encoded = None if body is None else msgspec.json.encode(body)
        with request(address, body=encoded, token=self._token, timeout_s=timeout_s, method=method) as response:
            try:
                answer: dict[str, Any] = msgspec.json.decode(response.read() or b"{}", type=dict[str, Any])
            except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
                what = error or type(error).__name__
                raise RemoteError(f"{self._url} does not answer like a Trunkline: {what}", 1) from None
        return answer


def connection_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Return connections as lines for people."""
    for one in found["connections"]:
        rooms = ", ".join(f"{room['room']}{_lag(room['lag'])}" for room in one["rooms"])
        more = one["rooms_count"] - len(one["rooms"])
        who = one["user"] or one["address"]
        yield (
            f"{one['session']}  {who}  {one['address']}  {one['transport']}  {one['seconds']:.0f} s"
            f"  {one['messages']} messages  {rooms}{f' and {more} more' if more else ''}"
            f"{'  takes no more' if one['is_full'] else ''}"
        )


def consumer_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Return consumers as lines for people."""
    for one in found["consumers"]:
        yield (
            f"{one['name']}  {', '.join(one['rooms'])}  {one['lag']} behind  {one['cursors']} rooms"
            f"  {one['instances']} instances  {one['set_aside']} set aside"
        )


def room_lines(page: Mapping[str, Any]) -> Iterator[str]:
    """Return a page of rooms as lines for people."""
    for room in page["rooms"]:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(room["at"] / 1000))
        yield (
            f"{room['room']}  {room['epoch']}.{room['head']}  {room['messages']} messages  {room['bytes']} bytes"
            f"  {at} UTC  {room['readers']} readers  {room['members']} members"
        )


def unknown_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Return what is not known, as lines for people."""
    if found.get("has_more"):
        yield "there are more than are listed"
    for text in found.get("unpurged", ()):
        yield f"still there: {text}"
    if found["missing_nodes"]:
        yield f"these nodes did not answer, and what they know is missing: {', '.join(found['missing_nodes'])}"


def _lag(lag: int) -> str:
    return f" ({lag} behind)" if lag else ""
