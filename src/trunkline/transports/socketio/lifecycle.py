"""The life of a session of Engine.IO, as a table.

    POLLING     requests carry packets
    PROBING     a WebSocket is being tried; requests carry packets, and none of them waits
    WEBSOCKET   the WebSocket carries packets
    LEAVING     the client has said goodbye in a request; the one that waits, or comes next, is told so
    CLOSED      nothing does

Every change is a row of TRANSITIONS; what is not a row cannot happen.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    POLLING = "polling"
    PROBING = "probing"
    WEBSOCKET = "websocket"
    LEAVING = "leaving"
    CLOSED = "closed"


class Event(Enum):
    PROBED = "a WebSocket has brought the probe"
    UPGRADED = "the client has gone over to it"
    PROBE_ENDED = "it has ended before that"
    LEFT = "the client has said goodbye"
    ENDED = "it is over, for whatever reason"


TRANSITIONS = {
    (State.POLLING, Event.PROBED): State.PROBING,
    (State.PROBING, Event.UPGRADED): State.WEBSOCKET,
    (State.PROBING, Event.PROBE_ENDED): State.POLLING,
    (State.POLLING, Event.LEFT): State.LEAVING,
    (State.PROBING, Event.LEFT): State.LEAVING,
    (State.WEBSOCKET, Event.LEFT): State.CLOSED,
    **{(state, Event.ENDED): State.CLOSED for state in State},
}

IS_POLLED = frozenset((State.POLLING, State.PROBING))


def can(state: State, event: Event) -> bool:
    """Return whether that may happen now."""
    return (state, event) in TRANSITIONS
