"""The test kit for tests that are not coroutines: with Starlette's TestClient, or Django's."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, Self, TypeVar

from starlette.types import ASGIApp

from trunkline.client.client import Message
from trunkline.core.message import Message as StoredMessage
from trunkline.core.message import Receipt
from trunkline.hub import Hub
from trunkline.testing.fault import Fault
from trunkline.testing.hub import TestHub
from trunkline.testing.reader import Reader

T = TypeVar("T")


class Run(Protocol):
    """Runs a coroutine on the hub's event loop, and returns what it returns."""

    def __call__(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run the coroutine that *call* makes."""


class BlockingReader:
    """A `Reader` whose methods block. See there for what they do, take and raise.

    Args:
        run: What runs its coroutines.
    """

    def __init__(self, reader: Reader, run: Run) -> None:
        self.reader = reader
        self._run = run

    @property
    def data(self) -> list[Any]:
        """The data of all messages that it has heard."""
        return self.reader.data

    @property
    def state(self) -> str:
        """`connecting`, `online`, `waiting` or `closed`."""
        return self.reader.state

    def expect(self, *wanted: Any, **options: Any) -> Message:
        __tracebackhide__ = True
        return self._run(lambda: self.reader.expect(*wanted, **options))

    def refute(self, unwanted: Any = ..., **options: Any) -> None:
        __tracebackhide__ = True
        self._run(lambda: self.reader.refute(unwanted, **options))

    def expect_gap(self, reason: str | None = None, **options: Any) -> Any:
        __tracebackhide__ = True
        return self._run(lambda: self.reader.expect_gap(reason, **options))

    def expect_presence(self, *members: str, **options: Any) -> None:
        __tracebackhide__ = True
        self._run(lambda: self.reader.expect_presence(*members, **options))

    def expect_signal(self, name: str, data: Any = ..., **options: Any) -> Any:
        __tracebackhide__ = True
        return self._run(lambda: self.reader.expect_signal(name, data, **options))

    def expect_error(self, code: str, **options: Any) -> None:
        __tracebackhide__ = True
        self._run(lambda: self.reader.expect_error(code, **options))

    def publish(self, data: Any, **options: Any) -> int:
        return self._run(lambda: self.reader.publish(data, **options))

    def call(self, name: str, data: Any = None, **options: Any) -> Any:
        return self._run(lambda: self.reader.call(name, data, **options))

    def repeat(self) -> Receipt:
        return self._run(self.reader.repeat)

    def signal(self, name: str, data: Any = None) -> None:
        self._call(lambda: self.reader.signal(name, data))

    def cut(self) -> Fault:
        return self._cause(self.reader.cut)

    def slow(self) -> Fault:
        return self._cause(self.reader.slow)

    def reset(self) -> None:
        self._call(self.reader.reset)

    def reconnect(self) -> None:
        __tracebackhide__ = True
        self._run(self.reader.reconnect)

    def expire_token(self) -> None:
        self._call(self.reader.expire_token)

    def close(self) -> None:
        self._run(self.reader.close)

    def _cause(self, verb: Callable[[], Fault]) -> Fault:
        fault = self._call(verb)
        return Fault(lambda: self._call(fault.end))

    def _call(self, call: Callable[[], T]) -> T:
        async def there() -> T:
            return call()

        return self._run(there)


class BlockingHub:
    """A `TestHub` whose methods block. See there for what they do, take and raise.

    It works on the event loop that the hub runs on: that of the TestClient, if one is open, else one of its own. Use it
    as `with BlockingHub(hub, app) as hub: …`, or by the fixture `blocking_hub`.

    Args:
        hub, app, path, transport, settings: As for `TestHub`; or *hub* is one.

    Attributes:
        test_hub: The TestHub.
        store: The log: `hub.store.away()`.
    """

    def __init__(self, hub: Hub | TestHub | None = None, app: ASGIApp | None = None, **options: Any) -> None:
        self.test_hub = hub if isinstance(hub, TestHub) else TestHub(hub, app, **options)
        self.store = self.test_hub.store
        self._run = self.test_hub.run_sync

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.test_hub.close_sync()

    def reader(self, room: str, **options: Any) -> BlockingReader:
        __tracebackhide__ = True
        return BlockingReader(self._run(lambda: self.test_hub.reader(room, **options)), self._run)

    def publish(self, room: str, data: Any, **options: Any) -> Receipt:
        return self._run(lambda: self.test_hub.publish(room, data, **options))

    def stored(self, room: str) -> list[StoredMessage]:
        return self.test_hub.stored(room)

    def until(self, fact: Callable[[], object], **options: Any) -> None:
        __tracebackhide__ = True
        self._run(lambda: self.test_hub.until(fact, **options))

    def tick(self, seconds: float) -> None:
        """Let so many seconds pass (`VirtualClock.tick`)."""

        async def there() -> None:
            await self.test_hub.start()
            await self.test_hub.clock.tick(seconds)

        self._run(there)

    def restart(self, **options: Any) -> None:
        self._run(lambda: self.test_hub.restart(**options))

    def trim(self, room: str, **options: Any) -> None:
        async def there() -> None:
            self.test_hub.trim(room, **options)

        self._run(there)
