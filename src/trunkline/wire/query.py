"""What a URL asks for, parsed once and by one rule for every transport.

A parameter that may be given once must not be given twice (`ONCE`): which of two values counts would depend on who
reads them, a proxy, this server or the application.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from trunkline.core.consumer import check_beginning, check_consumer_name, check_patterns
from trunkline.core.grant import Action
from trunkline.core.joins import parse_joins
from trunkline.core.limits import Limits
from trunkline.core.message import check_readable_room
from trunkline.core.page import DEFAULT_START
from trunkline.core.position import NOW, Start, parse_start
from trunkline.core.presence_options import NO_PRESENCE, PresenceOptions, parse_presence_options
from trunkline.errors import RequestError
from trunkline.wire.request_head import RequestHead

ONCE = frozenset({"since", "last", "limit", "wait", "live", "client", "attempt", "token", "ticket", "check"})
LIMIT_DEFAULT = 100  # messages of one poll
IN_FLIGHT_DEFAULT, IN_FLIGHT_MAX = 100, 1000
ACK_WAIT_S_DEFAULT, ACK_WAIT_S_MAX = 30, 3600
TRIES_DEFAULT, TRIES_MAX = 5, 1000

Kind = Literal["websocket", "sse", "poll"]


class ConsumeQuery(NamedTuple):
    """What a request to consume asks for.

    Attributes:
        name: Of the consumer.
        rooms: The patterns of its rooms.
        since: Where it begins, if it is new.
        in_flight: How many messages may wait for their acknowledgement.
        ack_wait_s: After how many seconds a message counts as failed.
        tries_max: After how many failures a message is set aside.
    """

    name: str
    rooms: tuple[str, ...]
    since: str
    in_flight: int
    ack_wait_s: int
    tries_max: int

    def needs(self) -> Iterator[tuple[Action, str]]:
        """Iterate over what must be permitted, as `ReadQuery.needs` does."""
        yield "consume", self.name
        for pattern in self.rooms:
            yield "read", pattern


class ReadQuery(NamedTuple):
    """What a request to read asks for.

    Attributes:
        joins: The rooms, and where reading begins in each.
        names_rooms: Whether positions name their rooms, as on `/connect`, even if there is only one.
        presence: What it asks of presence.
        limit: The most messages of one poll's answer.
        wait_s: How long a poll waits for something new, in seconds.
        consume: As which durable consumer it reads, if it does; it names no rooms then.
        live: The version of signals, presence and read marks that a poll knows; None if it does not ask for them.
    """

    joins: list[tuple[str, Start]]
    names_rooms: bool
    presence: PresenceOptions
    limit: int
    wait_s: float
    live: str | None
    consume: ConsumeQuery | None = None

    @property
    def rooms(self) -> list[str]:
        """The names of the rooms."""
        return [room for room, _ in self.joins]

    def needs(self) -> Iterator[tuple[Action, str]]:
        """Iterate over what must be permitted: an action and the room for it; or a pattern of rooms, which is permitted
        if all of them are."""
        if self.consume is not None:
            yield from self.consume.needs()
        for room, _ in self.joins:
            yield "read", room
        if self.presence.watch:
            for room, _ in self.joins:
                if self.presence.for_room(room).watch:
                    yield "presence", room


def parse_read_query(
    head: RequestHead, room: str | None, limits: Limits, kind: Kind, presence: PresenceOptions
) -> ReadQuery:
    """Parse the URL of a poll, an event stream or a WebSocket, and the `Last-Event-ID` of an event stream.

    Args:
        room: The room that the path names; None on `/connect`, where the query does.
        kind: What the request is answered with.
        presence: What the URL asks of presence (`parse_presence`).

    Raises:
        RequestError: A parameter is given twice, or is not valid; or too many rooms are named.
    """
    refuse_repeats(head)
    # Of an event stream, the position that the browser remembers beats the one that the page asked for.
    last_event_id = head.headers.get(b"last-event-id", b"").decode("latin-1") if kind == "sse" else ""
    since = last_event_id or head.one("since")
    last = None if last_event_id else head.one("last")
    default = DEFAULT_START if kind == "poll" else NOW
    if room is not None:
        joins = [(check_readable_room(room), parse_start(since, last, default))]
    else:
        joins = parse_joins(named_rooms(head), since, last, limits.rooms_per_connection_max, default)
    if kind != "poll":
        return ReadQuery(joins, room is None, presence, LIMIT_DEFAULT, 0, None)
    limit = _number(head, "limit", 1, limits.poll_messages_max, LIMIT_DEFAULT)
    wait_s = _number(head, "wait", 0, int(limits.poll_wait_s_max), 0)
    return ReadQuery(joins, room is None, presence, limit, wait_s, head.one("live"))


def parse_consume_query(head: RequestHead, name: str) -> ReadQuery:
    """Parse the URL of an event stream of a durable consumer.

    Args:
        name: Of the consumer, from the path.

    Raises:
        RequestError: A parameter is given twice, or is not valid.
    """
    refuse_repeats(head)
    consume = ConsumeQuery(
        check_consumer_name(name),
        check_patterns([value for key, value in head.query if key == "rooms"]),
        check_beginning(head.one("since") or "start"),
        _number(head, "in_flight", 1, IN_FLIGHT_MAX, IN_FLIGHT_DEFAULT),
        _number(head, "ack_wait", 1, ACK_WAIT_S_MAX, ACK_WAIT_S_DEFAULT),
        _number(head, "tries", 1, TRIES_MAX, TRIES_DEFAULT),
    )
    return ReadQuery([], True, NO_PRESENCE, LIMIT_DEFAULT, 0, None, consume)


def named_rooms(head: RequestHead) -> list[str]:
    """Return the rooms that `room=` names."""
    return [value for name, value in head.query if name == "room"]


def parse_presence(head: RequestHead, limits: Limits) -> PresenceOptions:
    """Return what the URL asks of presence.

    Raises:
        RequestError: It is not valid, or names too many rooms.
    """
    return parse_presence_options(head.query, limits.rooms_per_connection_max) if head.query else NO_PRESENCE


def refuse_repeats(head: RequestHead) -> None:
    """Refuse a request in which a parameter of ONCE is given twice, whether it is used or not.

    Raises:
        RequestError: `bad_command`.
    """
    if len(head.query) < 2:
        return
    given = [key for key, _ in head.query if key in ONCE]
    if len(given) > 1 and len(set(given)) < len(given):
        name = next(key for key in given if given.count(key) > 1)
        raise RequestError("bad_command", f"{name} stands in the address more than once: give it once")


def _number(head: RequestHead, name: str, low: int, high: int, default: int) -> int:
    text = head.one(name)
    if text is None:
        return default
    is_number = text.isascii() and text.isdigit() and (len(text) <= 10 or text[0] != "0")
    number = int(text[:10]) if is_number else -1  # ten digits are too many in any case
    if number < low:
        raise RequestError("bad_limit", f"{name} is a whole number from {low} on")
    return min(number, high)
