"""The part of a hub by which code of the application hears clients: hooks, calls, consumers and webhooks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Literal, TypeVar

from trunkline.consumers.message import ConsumedMessage
from trunkline.consumers.settings import OnGap, OnRedacted, Settings
from trunkline.core.webhook import WebhookSettings
from trunkline.errors import ConfigError
from trunkline.handlers.registry import ConnectionHook, Handlers, PublishHook, check_takes
from trunkline.transports.context import Context

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
PublishHookT = TypeVar("PublishHookT", bound=PublishHook)


class HubHandlers:
    """What an application registers, and reads on. `Hub` is one."""

    _context: Context

    def __init__(self) -> None:
        self._handlers = Handlers()
        self._webhooks: list[WebhookSettings] = []
        self._posts_webhooks = True

    async def _ensure_started(self) -> None:
        raise NotImplementedError

    def before_publish(self, *patterns: str) -> Callable[[PublishHookT], PublishHookT]:
        """Decorator: look at each message that a client publishes, before it is stored; change or refuse it.

        The hook gets the grant of the client and the message (`room`, `id`, `data`). It lets the message through by
        returning, as it then is: what it has changed in `message.data`, or assigned to it, is stored. It refuses by
        raising `Refused`. It may be `async`; if it is not, it runs on a thread. Messages of one client in one room come
        one after the other. If it raises anything else, or takes longer than `limits.hook_s`, the message is refused
        with `internal`. docs/handlers.md says what happens when.

        Args:
            patterns: Names of rooms, or beginnings of them and `*`; without any, all rooms. Several hooks for one room
                are called in the order in which they are registered.

        Raises:
            ConfigError: One of them is no pattern, or the hook takes other arguments.
        """

        self._handlers.check_patterns(patterns)

        def register(hook: PublishHookT) -> PublishHookT:
            self._handlers.add_publish_hook(patterns, hook)
            return hook

        return register

    def call(self, name: str) -> Callable[[FunctionT], FunctionT]:
        """Decorator: answer the calls of clients that have this name; return what they are answered with.

        The handler gets the `Call`, and the data of it if it has a second parameter, whose annotation says what the
        data must be: anything that msgspec can decode, or a model of Pydantic. It may be `async`; if it is not, it runs
        on a thread. It refuses by raising `Refused`. A call that the client gives an id is carried out at most once, on
        all nodes together; if its node dies, or it takes longer than `limits.call_s`, the client is told
        `outcome_unknown`. docs/handlers.md says what happens when.

        Args:
            name: 1 to 64 of `A-Z a-z 0-9 _ . : ~ -`; or the beginning of names and `*`.

        Raises:
            ConfigError: It is no name, there is a handler for it, or the function's parameters are not right.
        """

        self._handlers.check_name(name)

        def register(function: FunctionT) -> FunctionT:
            self._handlers.add_call(name, function)
            return function

        return register

    def on_connect(self, hook: ConnectionHook) -> ConnectionHook:
        """Decorator: called with a `ConnectionEvent` when a client has been let in, by WebSocket or event stream.

        It is called once, on the node that the client is connected to. It may be `async`; if it is not, it runs on a
        thread. What it raises is logged. Polls are no connections: see `on_presence`.
        """
        check_takes(hook, "on_connect", "(event)", 1)
        self._handlers.on_connect = hook
        return hook

    def on_disconnect(self, hook: ConnectionHook) -> ConnectionHook:
        """Decorator: called with a `ConnectionEvent` when a connection has ended: why, and how long it was.

        As `on_connect`, and after it. A node that is killed tells of no ends; `on_presence` is told of its members.
        """
        check_takes(hook, "on_disconnect", "(event)", 1)
        self._handlers.on_disconnect = hook
        return hook

    async def consume(
        self,
        name: str,
        rooms: str | Sequence[str],
        *,
        since: Literal["start", "now"] = "start",
        on_gap: OnGap | None = None,
        on_redacted: OnRedacted | None = None,
        in_flight: int = 100,
        ack_wait_s: float = 30.0,
        tries_max: int = 5,
    ) -> AsyncGenerator[ConsumedMessage, None]:
        """Handle each message of many rooms at least once, in the order of each room, as one of several processes.

        `async for message in hub.consume("billing", "orders:*"): …; await message.ack()`. How far the consumer is in
        each room is kept in the log. All that consume under one name share the rooms; each room is one's at a time, and
        goes to another one within seconds when its process dies. The next message of a room comes when the one before
        is acknowledged; those of other rooms come meanwhile. docs/handlers.md says what happens when.

        Args:
            name: Of the consumer: 1 to 64 of `A-Z a-z 0-9 _ . ~ -`.
            rooms: Names of rooms, or beginnings of them and `*`; up to 20. New rooms that match are found.
            since: Where a new consumer begins in the rooms that there are: `start`, or `now`.
            on_gap: Called with messages that are gone, before its room goes on behind them; may be `async`.
            on_redacted: Called with redactions, in their place among the messages; may be `async`.
            in_flight: How many messages, of as many rooms, may wait for their acknowledgement.
            ack_wait_s: Seconds after which a message that was not acknowledged counts as failed.
            tries_max: After so many failures a message is set aside: it is logged, counted, and reported in the room
                `$aside.NAME`.

        Raises:
            GapError: Messages are gone and there is no *on_gap*.
            RequestError: The name, the rooms or *since* are not valid.
            StoreUnavailable: The log did not answer when the consumer began; later, it is waited for.
            ShuttingDown, WrongLoop: The hub was drained, or runs on another event loop.
        """
        await self._ensure_started()
        settings = Settings(in_flight, ack_wait_s, tries_max, on_gap, on_redacted)
        async with aclosing(self._context.consumers.consume(name, rooms, since, settings)) as messages:
            async for message in messages:
                yield message

    def webhook(
        self,
        url: str,
        rooms: str | Sequence[str] = (),
        *,
        secret: str,
        former_secret: str | None = None,
        events: Sequence[Literal["presence", "connections"]] = (),
        name: str | None = None,
        since: Literal["start", "now"] = "now",
        networks: Sequence[str] = (),
        timeout_s: float = 15.0,
        batch_messages: int = 100,
        give_up_s: float = 86_400.0,
    ) -> None:
        """Post the messages of rooms to a URL, in order, signed by the rules of Standard Webhooks. Before `start`.

        It is a durable consumer: what was not taken is posted again, over restarts, and by another process if this one
        dies. docs/handlers.md has the requests, and what happens when.

        Args:
            url: An https address; one of http only in one of *networks*.
            rooms: Names of rooms, or beginnings of them and `*`.
            secret: What signs: `whsec_` and 24 to 64 bytes in Base64. `trunkline secret` makes one.
            former_secret: One that signs, too, while the receiver changes over from it.
            events: What is posted beside messages: who joins and leaves rooms, and connections.
            name: Of its consumer; by default made of the address. Under another name it begins anew.
            since: Where it begins: `now`, or `start`.
            networks: Private addresses that it may be sent to, such as `10.1.0.0/16`.
            timeout_s: How many seconds an answer may take.
            batch_messages: How many messages a request has at most.
            give_up_s: For how many seconds a batch is tried.

        Raises:
            ConfigError: One of these is not what it should be; or the extra `client`, by which it is sent, is missing.
        """
        settings = WebhookSettings(
            url=url,
            rooms=(rooms,) if isinstance(rooms, str) else tuple(rooms),
            events=tuple(events),
            secret=secret,
            former_secret=former_secret,
            name=name,
            since=since,
            networks=tuple(networks),
            timeout_s=timeout_s,
            batch_messages=batch_messages,
            give_up_s=give_up_s,
        )
        self._add_webhook(settings)

    def _add_webhook(self, settings: WebhookSettings) -> None:
        try:
            from trunkline.webhooks.webhook import Webhook  # noqa: PLC0415 - an extra
        except ModuleNotFoundError:
            raise ConfigError("webhooks: install trunkline[client]") from None
        if any(known.consumer == settings.consumer for known in self._webhooks):
            raise ConfigError(f"webhook {settings.consumer}: there is one of that name already: give each its `name`")
        Webhook(self._context.engine, self._context.consumers, settings)  # which says what is wrong
        self._webhooks.append(settings)

    def _start_webhooks(self) -> None:
        if not (self._webhooks and self._posts_webhooks):
            return
        from trunkline.webhooks.event_log import EventLog  # noqa: PLC0415 - an extra
        from trunkline.webhooks.webhook import Webhook  # noqa: PLC0415

        context, events = self._context, {event for settings in self._webhooks for event in settings.events}
        EventLog(context.engine, context.parts.connection_hooks).start(set(events))
        for settings in self._webhooks:
            context.engine.tasks.spawn(Webhook(context.engine, context.consumers, settings).run())
