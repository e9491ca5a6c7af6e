"""Which function of the application hears an event of a client, and with which arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

ANY = "*"
OWN_EVENTS = frozenset(("connect", "disconnect"))
"""Events of the server's own, which no catch-all hears."""

Handler = Callable[..., Any]


class Found(NamedTuple):
    """What hears an event, and the arguments that go before the event's own."""

    handler: Handler
    before: tuple[Any, ...]


class NamespaceHandlers(Protocol):
    """Handlers of one namespace as methods `on_…` of an object."""

    namespace: str

    def trigger_event(self, event: str, *args: Any) -> Any:
        """Have an event heard; return what the client is to be told."""


class Handlers:
    """The handlers of one server: functions by namespace and event, and objects by namespace. `*` is any of them."""

    def __init__(self) -> None:
        self.functions: dict[str, dict[str, Handler]] = {}
        self.namespaces: dict[str, NamespaceHandlers] = {}

    def on(self, event: str, handler: Handler, namespace: str) -> None:
        """Let a function hear an event."""
        self.functions.setdefault(namespace, {})[event] = handler

    def __iter__(self) -> Iterator[str]:
        """Iterate over the namespaces that have handlers."""
        return iter({**self.functions, **self.namespaces})

    def __contains__(self, namespace: str) -> bool:
        """Return whether a namespace has handlers of its own."""
        return namespace in self.functions or namespace in self.namespaces

    def find(self, event: str, namespace: str) -> Found | None:
        """Return what hears an event; None if nothing does.

        The event of the namespace counts before any event of the namespace, then the event of any namespace, then any
        event of any; functions count before objects.
        """
        for space, first in ((namespace, ()), (ANY, (namespace,))):
            functions = self.functions.get(space, {})
            if event in functions and event != ANY:  # which a client may call an event, too
                return Found(functions[event], first)
            if ANY in functions and event not in OWN_EVENTS:
                return Found(functions[ANY], (event, *first))
        for space, first in ((namespace, ()), (ANY, (namespace,))):
            methods = self.namespaces.get(space)
            if methods is not None:
                return Found(methods.trigger_event, (event, *first))
        return None


def fitting(handler: Handler, arguments: Sequence[Any], fewest: int) -> Sequence[Any]:
    """Return as many of the arguments as a handler takes, but no fewer than that.

    Handlers of `connect` may be without `auth`, and those of `disconnect` without `reason`.
    """
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return arguments
    for count in range(len(arguments), fewest, -1):
        try:
            signature.bind(*arguments[:count])
        except TypeError:
            continue
        return arguments[:count]
    return arguments[:fewest]
