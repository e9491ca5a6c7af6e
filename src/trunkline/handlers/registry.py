"""What an application has registered: its hooks and handlers, by what they are called for."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from trunkline.core.connection_event import ConnectionEvent
from trunkline.core.grant import Grant, check_pattern, matches
from trunkline.core.incoming import IncomingMessage
from trunkline.errors import ConfigError, setting
from trunkline.handlers.arguments import CallHandler

H = TypeVar("H")

PublishHook = Callable[[Grant, IncomingMessage], Awaitable[None] | None]
"""`(grant, message)`: called before a client's message is stored. May change `message.data`, or raise `Refused`."""
ConnectionHook = Callable[[ConnectionEvent], Awaitable[None] | None]
"""`(event)`: called when a client has connected, or is gone."""


class _ByPattern(NamedTuple, Generic[H]):
    pattern: str
    hook: H


class Handlers:
    """The hooks and handlers of one hub. They stay when the hub is given another log, as in tests.

    Attributes:
        of_messages: The hooks that look at messages, each with its pattern; the list is always the same one.
    """

    def __init__(self) -> None:
        self.on_connect: ConnectionHook | None = None
        self.on_disconnect: ConnectionHook | None = None
        self.of_messages: list[_ByPattern[PublishHook]] = []
        self._calls: list[_ByPattern[CallHandler]] = []

    @property
    def hears_connections(self) -> bool:
        """Whether anything wants to know of connections."""
        return self.on_connect is not None or self.on_disconnect is not None

    @staticmethod
    def check_patterns(patterns: Sequence[str]) -> None:
        """Check the patterns of a hook.

        Raises:
            ConfigError: One of them is none.
        """
        if any(callable(pattern) for pattern in patterns):
            raise ConfigError('before_publish: write @hub.before_publish("chat:*"), or with () for all rooms')
        for pattern in patterns:
            _check(pattern, "before_publish")

    def add_publish_hook(self, patterns: Sequence[str], hook: PublishHook) -> None:
        """Call a hook for the messages of rooms that one of these patterns matches; without any, of all rooms.

        Raises:
            ConfigError: It does not take what it would be called with.
        """
        check_takes(hook, "before_publish", "(grant, message)", 2)
        self.of_messages += [_ByPattern(pattern, hook) for pattern in patterns or ("*",)]

    def publish_hooks(self, room: str) -> list[PublishHook]:
        """Return the hooks for a room's messages, in the order in which they were registered, each once."""
        return list(dict.fromkeys(entry.hook for entry in self.of_messages if matches(entry.pattern, room)))

    @staticmethod
    def check_name(pattern: str) -> None:
        """Check the name of a call, or the pattern of several.

        Raises:
            ConfigError: It is none.
        """
        if callable(pattern):
            raise ConfigError('call: write @hub.call("name")')
        _check(pattern, "call")

    def add_call(self, pattern: str, function: Callable[..., Any]) -> None:
        """Let a function answer the calls of this name, or of all names that the pattern matches.

        Raises:
            ConfigError: There is a handler for it, or the function's parameters are not right.
        """
        if any(entry.pattern == pattern for entry in self._calls):
            raise ConfigError(f"call: there is a handler for {pattern!r} already")
        self._calls.append(_ByPattern(pattern, CallHandler(function)))

    def call(self, name: str) -> CallHandler | None:
        """Return the handler of a call: that of its very name, or of the longest pattern; None if there is none."""
        found = [entry for entry in self._calls if matches(entry.pattern, name)]
        found.sort(key=lambda entry: (entry.pattern == name, len(entry.pattern)))
        return found[-1].hook if found else None


def check_takes(hook: Callable[..., Any], what: str, arguments: str, count: int) -> None:
    """Check that a hook can be called with so many arguments.

    Raises:
        ConfigError: It cannot.
    """
    try:
        inspect.signature(hook).bind(*[None] * count)
    except TypeError as error:
        name = getattr(hook, "__qualname__", repr(hook))
        raise ConfigError(f"{what}: {name} is called with {arguments}: {error}") from None
    except ValueError:
        pass  # one of C, which does not say


def _check(pattern: str, what: str) -> None:
    with setting(what):
        check_pattern(pattern)
