"""What servers and handlers raise, by the names that python-socketio gives them."""

from __future__ import annotations

from typing import Any


class SocketIOError(Exception):
    """Whatever goes wrong between a server and its clients."""


class ConnectionError(SocketIOError):  # noqa: A001 - its name in python-socketio
    """A connection could not be made."""


class ConnectionRefusedError(ConnectionError):  # noqa: A001 - its name in python-socketio
    """A `connect` handler lets a client not in.

    Args:
        args: What the client is told: a message and, if there is more, data. Without any, a message that says nothing.

    Attributes:
        error_args: What its `connect_error` event has.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        message = str(args[0]) if args else "Connection rejected by server"
        self.error_args: dict[str, Any] = {"message": message}
        if len(args) > 1:
            self.error_args["data"] = args[1] if len(args) == 2 else args[1:]


class TimeoutError(SocketIOError):  # noqa: A001 - its name in python-socketio
    """A client has not acknowledged an event in time: whether it has it is unknown."""


class BadNamespaceError(SocketIOError):
    """There is no such namespace, or the client is not in it."""


class DisconnectedError(SocketIOError):
    """The client is not connected any more."""
