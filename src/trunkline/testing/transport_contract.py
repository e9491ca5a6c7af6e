"""What every transport must do, and every client, as tests: subclass `TransportContract`, and let pytest run it.

class TestMyClient(TransportContract):
    @pytest.fixture(autouse=True)
    async def _server(self):
        with LiveServer(environment=ENVIRONMENT) as server:
            async with aiohttp.ClientSession() as self.http:
                self.url = server.url
                yield

    async def read(self, room: str, start: Start) -> AsyncIterator[Item]:
        ...messages and gaps of the room, over one connection

`plain_readers.py` has a reader of each transport to copy from.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from trunkline.testing.plain_readers import PLAIN_READERS, WAIT_S, Follower, Item, Start

KEEP = 100
"""How many messages of a room the server must keep."""

ENVIRONMENT = {"TRUNKLINE_RETENTION__MESSAGES_MAX": str(KEEP)}
"""What `trunkline serve` is to be started with."""


class TransportContract:
    """The contract. Tests are independent of each other: each has a room of its own.

    Attributes:
        url, http: The server's address, and an HTTP client; to be set before each test, by a fixture.
        room: The test's own room.
    """

    url: str
    http: aiohttp.ClientSession
    room: str

    def read(self, room: str, start: Start) -> AsyncIterator[Item]:
        """Read a room from *start* (`{"since": …}` or `{"last": …}`), over one connection, until it ends.

        Yields:
            `("message", body, position)` and `("gap", body, position)`: the body as PROTOCOL.md has it, and the
            position after it, with which it is read on.
        """
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _own_room(self) -> None:
        self.room = f"contract-{uuid.uuid4().hex[:8]}"

    # Publishing, by POST.

    async def publish(self, data: object, **fields: str) -> dict[str, Any]:
        """Publish to the test's room; return the receipt."""
        async with self.http.post(f"{self.url}/rooms/{self.room}", json={"data": data, **fields}) as response:
            receipt: dict[str, Any] = await response.json()
            assert response.status in (200, 201), receipt
            return receipt

    async def publish_many(self, items: list[Any]) -> list[dict[str, Any]]:
        """Publish a list to the test's room; return the receipts."""
        body = [{"room": self.room, "data": item} for item in items]
        async with self.http.post(f"{self.url}/publish", json=body) as response:
            assert response.status == 201, await response.text()
            receipts: list[dict[str, Any]] = await response.json()
            return receipts

    def follow(self, **start: str) -> Follower:
        """Follow the test's room by `read`, connection after connection."""
        return Follower(self.read, self.room, **start)

    # The contract.

    async def test_publish_then_read(self) -> None:
        """What was there before comes first, what is published then follows, all in order."""
        await self.publish({"n": 1}, id="first")
        async with self.follow() as follower:
            await follower.until(1)
            for n in range(2, 30):
                await self.publish({"n": n})
            await follower.until(29)
        assert follower.offsets == list(range(1, 30))
        assert [m["data"]["n"] for m in follower.messages] == list(range(1, 30))
        first = follower.messages[0]
        assert set(first) == {"room", "offset", "id", "from", "at", "data"}
        assert (first["room"], first["id"], first["from"]) == (self.room, "first", None)

    async def test_traces(self) -> None:
        """A message that has one brings its trace, from memory and from the log; the others are as they were."""
        trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=1"}
        await self.publish(1, **trace)
        async with self.follow() as follower:
            await follower.until(1)
            await self.publish(2, traceparent="no trace", tracestate="a=1")
            await self.publish(3, traceparent=trace["traceparent"])
            await follower.until(3)
        messages = [{k: v for k, v in m.items() if k not in ("room", "id", "from", "at")} for m in follower.messages]
        assert messages == [
            {"offset": 1, "data": 1, **trace},
            {"offset": 2, "data": 2},
            {"offset": 3, "data": 3, "traceparent": trace["traceparent"]},
        ]

    async def test_starts(self) -> None:
        """start, an offset, a position and last=K."""
        receipts = await self.publish_many(list(range(1, 11)))
        epoch = receipts[0]["epoch"]
        for start, expected in (
            ({"since": "start"}, 1),
            ({"since": "0"}, 1),
            ({"since": "7"}, 8),
            ({"since": f"{epoch}.7"}, 8),
            ({"last": "3"}, 8),
            ({"last": "99"}, 1),
        ):
            async for kind, body, _ in self.read(self.room, start):
                assert (kind, body["offset"]) == ("message", expected), start
                break

    async def test_now(self) -> None:
        """`now` gives what is published after it, and nothing before."""
        await self.publish_many([1, 2, 3])
        async with self.follow(since="now") as follower, self.follow() as later:
            await later.until(3)
            while not follower.messages:
                await self.publish(4)
                await asyncio.sleep(0.05)
        assert follower.offsets[0] > 3

    async def test_resume(self) -> None:
        """Ten connections, each reading a few: together they have everything once."""
        await self.publish_many(list(range(60)))
        start: Start = {"since": "start"}
        seen: list[Any] = []
        while len(seen) < 60:
            count = 0
            async for _, body, position in self.read(self.room, start):
                seen.append(body["offset"])
                start = {"since": position}
                count += 1
                if count == 6:
                    break
        assert seen == list(range(1, 61))

    async def test_gap_when_trimmed(self) -> None:
        """A position that retention has passed: a gap with the exact range, then the earliest there is."""
        [first, *_] = await self.publish_many(list(range(KEEP * 3)))
        items = []
        async for item in self.read(self.room, {"since": f"{first['epoch']}.5"}):
            items.append(item)
            if len(items) == 3:
                break
        (kind, gap, after), (_, message, _), _ = items
        assert kind == "gap"
        assert (gap["from"], gap["reason"], gap["room"], gap["epoch"]) == (6, "trimmed", self.room, first["epoch"])
        assert gap["to"] >= KEEP * 2 - 2
        assert after == gap["next"] == f"{gap['epoch']}.{gap['to']}"
        assert message["offset"] == gap["to"] + 1

    @pytest.mark.parametrize(("since", "reason"), [("zzzz.3", "epoch"), ("99", "future")])
    async def test_gap_of_another_log(self, since: str, reason: str) -> None:
        """Another epoch, or an offset that the log does not have yet: said at once, and reading goes on."""
        await self.publish_many([1, 2])
        async with self.follow(since=since) as follower:
            await follower.until_gap()
            await self.publish(3)
            await follower.until(3 if reason == "epoch" else 1)
        assert [gap["reason"] for gap in follower.gaps] == [reason]
        assert follower.offsets == ([1, 2, 3] if reason == "epoch" else [3])

    async def test_gap_of_another_log_in_an_empty_room(self) -> None:
        """An empty room answers too: silence would look like success."""
        async with self.follow(since="zzzz.3") as follower:
            await follower.until_gap()
            await self.publish(1)
            await follower.until(1)
        assert [(gap["from"], gap["to"]) for gap in follower.gaps] == [(1, 0)]
        assert follower.offsets == [1]

    async def test_empty_room_resumes_without_a_gap(self) -> None:
        """The position of an empty room is as good as any other."""
        async with self.http.get(f"{self.url}/rooms/{self.room}?since=now") as response:
            position = (await response.json())["next"]
        assert position.endswith(".0")
        await self.publish("first")
        async with self.follow(since=position) as follower:
            await follower.until(1)
        assert (follower.offsets, follower.gaps) == ([1], [])

    async def test_all_readers_see_one_order(self) -> None:
        """Twenty publishers at once; this reader and those of all transports agree."""

        def plain(transport: str) -> Follower:
            def read(room: str, start: Start) -> AsyncIterator[Item]:
                return PLAIN_READERS[transport](self.http, self.url, room, start)

            return Follower(read, self.room)

        followers = [self.follow(), *map(plain, PLAIN_READERS)]

        async def chat(name: int) -> None:
            for n in range(4):
                await self.publish([name, n])

        await asyncio.gather(*map(chat, range(20)))
        for follower in followers:
            await follower.until(80)
            await follower.stop()
        orders = [[message["data"] for message in follower.messages] for follower in followers]
        assert all(order == orders[0] for order in orders)
        for name in range(20):
            assert [n for who, n in orders[0] if who == name] == [0, 1, 2, 3]

    async def test_odd_data(self) -> None:
        """Empty, null, deep, with line breaks and with every kind of character: it arrives as it was."""
        odd: list[Any] = ["", None, 0, [], {}, "a\nb\r\nc", "data: x\n\nid: 1", "\u2028\u0000é😀", [[[[1.5e-9]]]]]
        odd.append("x" * 60_000)
        await self.publish_many(odd[:-1])
        await self.publish(odd[-1])
        async with self.follow() as follower:
            await follower.until(len(odd))
        assert [message["data"] for message in follower.messages] == odd

    async def test_publishing_twice(self) -> None:
        """The same id by POST, by header and by WebSocket: one message."""
        first = await self.publish(1, id="k")
        again = await self.publish(2, id="k")
        address = f"{self.url}/rooms/{self.room}"
        async with self.http.post(address, data="3", headers={"Idempotency-Key": "k"}) as response:
            assert response.status == 200
            header = await response.json()
        async with self.http.ws_connect(address) as socket:
            await socket.send_json({"type": "message", "id": "k", "data": 4})
            while (ack := json.loads((await socket.receive()).data))["type"] != "ack":
                pass
        assert first["duplicate"] is False
        assert [receipt["duplicate"] for receipt in (again, header, ack)] == [True] * 3
        assert {receipt["offset"] for receipt in (first, again, header, ack)} == {1}
        async with self.follow() as follower:
            await follower.until(1)
            await self.publish("end")
            await follower.until(2)
        assert [message["data"] for message in follower.messages] == [1, "end"]

    async def test_changing_transports(self) -> None:
        """1-20 by this reader, the rest by all others in turn: a position is all the state there is."""
        await self.publish_many(list(range(100)))
        start: Start = {"since": "start"}
        seen = []

        async def read_twenty(items: AsyncIterator[Item]) -> Start:
            after = start
            async for _, body, position in items:
                seen.append(body["offset"])
                after = {"since": position}
                if len(seen) % 20 == 0:
                    break
            return after

        start = await read_twenty(self.read(self.room, start))
        for plain in PLAIN_READERS.values():
            start = await read_twenty(plain(self.http, self.url, self.room, start))
        assert seen == list(range(1, 101))

    async def test_joining_while_a_publisher_runs(self) -> None:
        """Joins in the middle of the traffic: what each sees has no hole and no overlap."""
        going = True

        async def chat() -> None:
            n = 0
            while going:
                await self.publish_many([n, n, n])
                n += 3

        publisher = asyncio.ensure_future(chat())
        followers = []
        for n in range(40):
            start = [{"since": "now"}, {"last": "5"}, {"since": "start"}][n % 3]
            followers.append(self.follow(**start))
            await asyncio.sleep(0.003)
        going = False
        await publisher
        async with asyncio.timeout(WAIT_S):
            # Again and again: whoever begins with `now` may only come when all is over.
            while not all(follower.messages and follower.messages[-1]["data"] == "end" for follower in followers):
                await self.publish("end")
                await asyncio.sleep(0.05)
        for follower in followers:
            await follower.stop()
            assert follower.gaps == []
            offsets = follower.offsets
            assert offsets == list(range(offsets[0], offsets[-1] + 1)), follower.start
