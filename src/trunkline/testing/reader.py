"""A reader of a room, and what a test expects it to hear."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Self

import aiohttp
import msgspec

from trunkline.client import events
from trunkline.client.client import Client, Message, Room
from trunkline.client.errors import ClientError, RoomError
from trunkline.client.machine import Machine
from trunkline.core.message import Receipt
from trunkline.core.trace import Trace, trace_fields
from trunkline.testing.access import Identity
from trunkline.testing.fault import Fault
from trunkline.testing.matching import matches, shown
from trunkline.testing.network import Line, LineConnector
from trunkline.testing.virtual_clock import VirtualClock

WITHIN_S = 5.0  # virtual: it costs a test that fails a fifth of a second
NOTHING_WITHIN_S = 1.0
OUTSIDE_S = 0.1
POLL_MS = 250
SHOWN = 10

Item = Message | events.Gap
GetToken = Callable[[], Any]


class _HeardClient(Client):
    """A client that says of all errors that it is told, also of those that are about no room."""

    hears_error: Callable[[events.Refusal], object]

    def step(self, given: dict[str, Any]) -> None:
        if given["type"] == "event" and given["event"]["type"] == "error":
            self.hears_error(given["event"])
        super().step(given)


class Reader:
    """A client that reads one room: the Python client itself, over a line of its own.

    It reconnects, resumes and confirms like every client. What it hears is kept until the test expects it.

    Attributes:
        client, room: The client, and its room, for what is not here.
        transport: How it reads.
        messages: All that it has heard, expected or not.
        signals, errors: The same of signals, and of refusals.

    Args:
        stored: Returns what the log holds of a room; and `others` the rooms in which there is something.
        waits_for_token: Returns whether the hub waits for a token of a client that brings none.
        identity, token, headers: Who it is.
        options: Those of `Client.room`.
    """

    def __init__(
        self,
        clock: VirtualClock,
        line: Line,
        url: str,
        room: str,
        transport: str,
        stored: Callable[[], list[Any]],
        others: Callable[[], list[str]],
        waits_for_token: Callable[[], bool],
        identity: Identity | None,
        token: str | GetToken | None,
        headers: Mapping[str, str],
        options: dict[str, Any],
    ) -> None:
        self._clock = clock
        self._line = line
        self._identity = identity
        self._stored = stored
        self._others = others
        self._waits_for_token = waits_for_token
        self._url = url
        self._token = token
        self._headers = headers
        self._watches_presence = bool(options.get("presence"))
        self.transport = transport
        self._items: list[Item] = []
        self._expected = 0  # how many of them the test has expected
        self._faults: dict[Fault, str] = {}
        self._is_joined = self._has_joined = False
        self._is_thrown_out = False
        self._change: Any = {"state": "idle", "text": "not started", "reason": ""}
        self._published: tuple[Any, str] | None = None
        self._ids = itertools.count(1)
        self.messages: list[Message] = []
        self.signals: list[events.Signal] = []
        self.errors: list[events.Refusal] = []
        self._signals_expected = 0
        self._errors_expected = 0
        get_token = None if token is None and identity is None else self._get_token
        self.client = _HeardClient(
            url,
            get_token=get_token,
            transports=[transport],
            poll_ms=POLL_MS,
            machine=Machine(self._open_http, clock.wall_s, clock.fraction),
        )
        self.client.hears_error = self.errors.append
        self.client.on("state", self._changed)
        self.room: Room = self.client.room(room, **options)
        self.room.on("message", self._message)
        self.room.on("gap", self._items.append)
        self.room.on("joined", self._joined)
        self.room.on("signal", self.signals.append)
        self.room.on("error", self._room_error)

    def __repr__(self) -> str:
        return f"<Reader of {self.name} by {self.transport}, {self.state}>"

    @property
    def name(self) -> str:
        """The room's name."""
        return self.room.name

    @property
    def data(self) -> list[Any]:
        """The data of all messages that it has heard."""
        return [message.data for message in self.messages]

    @property
    def state(self) -> str:
        """`connecting`, `online`, `waiting` or `closed`."""
        return self.client.state

    # Its life.

    async def open(self) -> Self:
        """Connect, and read.

        Raises:
            ClientError: The hub refuses the client (`unauthorized`, …), or as a RoomError the room (`forbidden`, …).
        """
        __tracebackhide__ = True
        await self.client.__aenter__()
        await self._clock.until(lambda: self._is_joined or self._refusal(), WITHIN_S)
        if self._is_joined:
            return self
        refusal, text = self._refusal(), f"{self._me} did not get through: it is {self.state} ({self._change['text']})"
        if refusal is None and self.transport == "websocket" and self._waits_for_token():
            refusal = ClientError("unauthorized", "the hub does not know this client, and waits for a token")
        await self.close()
        raise AssertionError(text) if refusal is None else refusal

    async def close(self) -> None:
        """Close the client, with a goodbye. Harmless if it is closed."""
        for fault in self._faults:
            fault.end()
        await self._clock.run(self.client.close(), WITHIN_S)

    def _open_http(self) -> aiohttp.ClientSession:
        headers = dict(self._headers)
        if self._identity is not None:
            headers["Authorization"] = f"Bearer {self._identity.get_token()}"
        return aiohttp.ClientSession(connector=LineConnector(self._line), headers=headers)

    def _get_token(self) -> Any:
        if self._identity is not None:
            token = self._identity.get_token()
            self.client._http.headers["Authorization"] = f"Bearer {token}"  # noqa: SLF001 - see VirtualAccess.asks
            return token
        return self._token() if callable(self._token) else self._token

    # What it hears.

    def _message(self, message: Message) -> None:
        self.messages.append(message)
        self._items.append(message)

    def _joined(self, _: events.Joined) -> None:
        self._is_joined = self._has_joined = True
        self._is_thrown_out = False

    @property
    def _is_reading(self) -> bool:
        """Whether it would hear what is published now."""
        if self.state != "online" or self._is_thrown_out:
            return False
        # Streams and polls do not say `joined` when they come back with a position.
        return self._is_joined if self.transport == "websocket" else self._has_joined

    def _changed(self, change: events.Change) -> None:
        self._change = change
        if change["state"] != "online":
            self._is_joined = False

    def _room_error(self, refusal: events.Refusal) -> None:
        if refusal.get("about") in (None, "join"):
            self._is_joined, self._is_thrown_out = False, True

    def _refusal(self) -> ClientError | None:
        if self.state == "closed":
            codes = [error["code"] for error in self.errors] if self.transport == "websocket" else []
            return ClientError(codes[-1] if codes else self._change["reason"], self._change["text"])
        if self.errors and not self._is_joined:
            return RoomError(self.errors[-1]["code"], self.errors[-1]["message"])
        return None

    # What is expected of it.

    async def expect(
        self,
        *wanted: Any,
        sender: Any = ...,
        id: Any = ...,  # noqa: A002 - its name on the wire
        within_s: float = WITHIN_S,
    ) -> Message:
        """Expect these messages next, in this order; return the last of them.

        Args:
            wanted: The data of each, or a part: a dict wants its own keys, and lets there be others; `...` is anything;
                a function decides. Without any, one message.
            sender, id: Who has published each of them, and under which id.
            within_s: How many seconds of the test's clock may pass until each has come.

        Raises:
            AssertionError: Something else came, or nothing; the text says what, and what the log holds.
        """
        __tracebackhide__ = True
        message: Message | None = None
        for part in wanted or (...,):
            what = "a message" if part is ... else f"the message {shown(part)}"
            item = await self._next(what, within_s)
            if not isinstance(item, Message):
                raise self._failed(what, f"a gap came instead: {_line(item)}")
            if not matches(part, item.data):
                raise self._failed(what, f"the next message was {_line(item)}")
            for what, of, is_ in (("sender", sender, item.sender), ("id", id, item.id)):
                if not matches(of, is_):
                    raise self._failed(f"the {what} {shown(of)}", f"it was {shown(is_)} in {_line(item)}")
            self._expected += 1
            message = item
        assert message is not None
        return message

    async def refute(self, unwanted: Any = ..., *, within_s: float = NOTHING_WITHIN_S) -> None:
        """Expect no such message, among those that were not expected yet and those that come.

        Args:
            unwanted: As in `expect`; by default any message, and any gap.
            within_s: How many seconds of the test's clock pass until that is believed.

        Raises:
            AssertionError: There is one.
        """
        __tracebackhide__ = True
        if self._wrong():
            raise AssertionError(
                f"{self._me} is {self._wrong()[0]}: whatever comes, it does not hear it; end that first"
            )

        like = "" if unwanted is ... else f" {shown(unwanted)}"
        if (
            not await self._clock.until(lambda: self._is_reading or self.state == "closed", WITHIN_S)
            or not self._is_reading
        ):
            raise self._failed(f"no message{like}", "it does not read, so it would hear nothing")
        if await self._clock.until(lambda: self._unwanted(unwanted) is not None, within_s, outside_s=OUTSIDE_S):
            found = self._unwanted(unwanted)
            assert found is not None
            raise self._failed(f"no message{like}", f"there is {_line(found)}")

    async def expect_gap(self, reason: str | None = None, *, within_s: float = WITHIN_S) -> events.Gap:
        """Expect to be told next that messages are missing; return what it was told.

        Args:
            reason: `trimmed`, `slow`, `epoch` or `future`; by default any.

        Raises:
            AssertionError: It was told something else, or nothing.
        """
        __tracebackhide__ = True
        what = f"a gap ({reason or 'for any reason'})"
        item = await self._next(what, within_s)
        if isinstance(item, Message):
            raise self._failed(what, f"the next message was {_line(item)}")
        if reason is not None and item["reason"] != reason:
            raise self._failed(what, f"the gap was {_line(item)}")
        self._expected += 1
        return item

    async def expect_presence(self, *members: str, within_s: float = WITHIN_S) -> None:
        """Expect to be shown exactly these members in the end, in any order; without any, an empty room.

        Args:
            members: Their names: users, if they are authenticated. `reader.room.members` has their data.

        Raises:
            AssertionError: It is shown others, or not asked for presence (`hub.reader(…, presence="watch")`).
        """
        __tracebackhide__ = True
        if not self._watches_presence:
            raise AssertionError(f'{self._me} does not ask for presence: make it with presence=True, or "watch"')
        if not await self._clock.until(lambda: set(self.room.members) == set(members), within_s):
            found = f"it is shown {', '.join(sorted(self.room.members)) or 'nobody'}"
            raise self._failed(f"the members {', '.join(sorted(members)) or '(none)'}", found)

    async def expect_signal(self, name: str, data: Any = ..., *, within_s: float = WITHIN_S) -> events.Signal:
        """Expect a signal, after those that were expected before; return it.

        Args:
            data: As in `expect`.

        Raises:
            AssertionError: None came.
        """
        __tracebackhide__ = True
        found: list[int] = []

        def look() -> bool:
            found[:] = [
                n
                for n, signal in enumerate(self.signals[self._signals_expected :], self._signals_expected)
                if signal["name"] == name and matches(data, signal["data"])
            ]
            return bool(found)

        if not await self._clock.until(look, within_s):
            heard = ", ".join(f"{signal['name']} {shown(signal['data'])}" for signal in self.signals) or "none"
            of = "" if data is ... else f" with {shown(data)}"
            raise self._failed(f"the signal {name}{of}", f"the signals that came are: {heard}")
        self._signals_expected = found[0] + 1
        return self.signals[found[0]]

    async def expect_error(self, code: str, *, within_s: float = WITHIN_S) -> None:
        """Expect to be refused something, after what was expected before; or to be sent away for good.

        Args:
            code: One of PROTOCOL.md.

        Raises:
            AssertionError: It was not.
        """
        __tracebackhide__ = True

        def look() -> bool:
            found = [n for n, error in enumerate(self.errors) if n >= self._errors_expected and error["code"] == code]
            if found:
                self._errors_expected = found[0] + 1
            return bool(found) or (self.state == "closed" and self._change["reason"] == code)

        if not await self._clock.until(look, within_s):
            came = ", ".join(error["code"] for error in self.errors) or "none"
            raise self._failed(f"the error {code}", f"the errors that came are: {came}")

    async def _next(self, what: str, within_s: float) -> Item:
        __tracebackhide__ = True

        def has_come() -> bool:
            return len(self._items) > self._expected or self.state == "closed"

        await self._clock.until(has_come, within_s)
        if len(self._items) > self._expected:
            return self._items[self._expected]
        raise self._failed(what, f"nothing came within {within_s:g} s of the test's clock")

    def _unwanted(self, unwanted: Any) -> Item | None:
        for item in self._items[self._expected :]:
            if unwanted is ... or (isinstance(item, Message) and matches(unwanted, item.data)):
                return item
        return None

    @property
    def _me(self) -> str:
        return f"the {self.transport} reader of {self.name}"

    def _failed(self, wanted: str, found: str) -> AssertionError:
        """Return the failure, with all that helps to see whose fault it is."""
        lines = [f"expected of {self._me}: {wanted}", f"but {found}"]
        heard = self._items[max(0, self._expected - SHOWN) : self._expected]
        if heard:
            lines += ["it had heard before:", *(f"  {_line(item)}" for item in heard)]
        coming = self._items[self._expected : self._expected + SHOWN]
        if coming:
            lines += ["it has heard, and the test has not expected yet:", *(f"  {_line(item)}" for item in coming)]
        stored = self._stored()
        lines.append(f"the log of {self.name} holds:" if stored else f"the log of {self.name} is empty")
        lines += [f"  {_line(message)}" for message in stored[-SHOWN:]]
        others = [] if stored else self._others()
        if others:
            lines.append(f"there are messages in {', '.join(others[:SHOWN])}")
        lines += [f"the reader is {wrong}, by this test" for wrong in self._wrong()]
        if self.state != "online" and not self._wrong():
            lines.append(f"the reader is {self.state}: {self._change['text']}")
        return AssertionError("\n".join(lines))

    def _wrong(self) -> list[str]:
        return [what for fault, what in self._faults.items() if not fault.is_over]

    # What it does.

    async def publish(
        self,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        traceparent: str | None = None,
        tracestate: str | None = None,
        within_s: float = WITHIN_S,
    ) -> int:
        """Publish to the room as this client; return the offset once it is confirmed.

        Args:
            data: Any JSON value.
            id: The idempotency key; by default one of its own.
            traceparent, tracestate: The trace that it is part of.

        Raises:
            ClientError: It was refused.
            TimeoutError: It was not confirmed in so many seconds of the test's clock; the client goes on trying.
        """
        message_id = f"{self.client.client_id}-{next(self._ids)}" if id is None else id
        self._published = data, message_id
        try:
            published = self.room.publish(data, id=message_id, traceparent=traceparent, tracestate=tracestate)
            return await self._clock.run(published, within_s)
        except TimeoutError:
            why = ", ".join(self._wrong()) or self.state
            text = f"not confirmed within {within_s:g} s of the test's clock: the reader is {why}, and goes on trying"
            raise TimeoutError(text) from None

    async def call(
        self,
        name: str,
        data: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        within_s: float = WITHIN_S,
    ) -> Any:
        """Call a handler of the application as this client; return what it answers.

        Args:
            name: Of the call.
            data: Any JSON value.
            id: With the same id it is carried out once; by default one of its own.

        Raises:
            ClientError: It was refused, or there was no result in so many seconds of the test's clock (`timeout`).
        """
        return await self._clock.run(self.client.call(name, data, timeout_s=within_s, id=id), within_s + OUTSIDE_S)

    def signal(self, name: str, data: Any = None) -> None:
        """Send a signal to the room's readers as this client (`Room.signal`)."""
        self.room.signal(name, data)

    async def repeat(self) -> Receipt:
        """Send the last publish once more, as a client does that did not hear that it was stored.

        Raises:
            ClientError: It was refused.
        """
        if self._published is None:
            raise RuntimeError("this reader has published nothing that could be repeated")
        data, message_id = self._published
        token = self.client._token or None  # noqa: SLF001 - whatever it is known by
        return await self._clock.run(
            post(self._line, f"{self._url}/rooms/{self.name}", token, data, message_id, self._headers), WITHIN_S
        )

    # Faults.

    def cut(self) -> Fault:
        """Break its connection, and let none through until that is over: `with reader.cut(): …`, or `reconnect()`."""
        return self._cause(self._line.cut(), "cut off")

    def reset(self) -> None:
        """Break its connection once: it may come back at once."""
        self._line.reset()

    def slow(self) -> Fault:
        """Let it take nothing that it is sent, until that is over: its machine, or its network, does not get on."""
        return self._cause(self._line.freeze(), "slow: it takes nothing")

    async def reconnect(self) -> None:
        """End all faults of this reader, and wait until it reads again.

        Raises:
            AssertionError: It does not.
        """
        __tracebackhide__ = True
        for fault in self._faults:
            fault.end()
        if not await self._clock.until(lambda: self._is_reading, WITHIN_S):
            raise self._failed("to be connected", f"it is {self.state}: {self._change['text']}")

    def expire_token(self) -> None:
        """Let its token expire now. It gets another one, unless `hub.reader(…, renews=False)` said otherwise."""
        if self._identity is None:
            raise RuntimeError("only a reader with `user=` has a token of the test's own")
        self._identity.expire()

    def _cause(self, fault: Fault, what: str) -> Fault:
        def end() -> None:
            fault.end()
            self.client.wake("the line is mended")

        caused = Fault(end)
        self._faults = {before: wrong for before, wrong in self._faults.items() if not before.is_over}
        self._faults[caused] = what
        return caused


async def post(
    line: Line,
    url: str,
    token: str | None,
    data: Any,
    message_id: str | None,
    headers: Mapping[str, str],
    trace: Trace | None = None,
) -> Receipt:
    """Publish by POST; return the receipt.

    Raises:
        ClientError: It was refused, or the server cannot be reached.
    """
    headers = {**headers, "Authorization": f"Bearer {token}"} if token else headers
    body = {"data": data} if message_id is None else {"data": data, "id": message_id}
    body |= trace_fields(trace)
    try:
        async with (
            aiohttp.ClientSession(connector=LineConnector(line), headers=headers) as http,
            http.post(url, data=msgspec.json.encode(body), headers={"Content-Type": "application/json"}) as response,
        ):
            answer = await response.json()
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ClientError("unreachable", str(error)) from None
    if "error" in answer:
        raise ClientError(answer["error"]["code"], answer["error"]["message"])
    return msgspec.convert(answer, Receipt)


def _line(item: Any) -> str:
    if isinstance(item, dict):
        return f"gap {item['from']} to {item['to']} ({item['reason']})"
    of = f" from {item.sender}" if item.sender is not None else ""
    return f"#{item.offset}{of} {shown(item.data)}"
