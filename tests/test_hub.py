"""The Python API."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

import trunkline
from tests.support import WAIT_S
from trunkline import (
    ConfigError,
    Gap,
    GapError,
    Hub,
    Limits,
    Message,
    Overloaded,
    RequestError,
    Retention,
    ShuttingDown,
    StoreUnavailable,
)
from trunkline.core.message import Draft, Receipt
from trunkline.core.position import Position, Start
from trunkline.engine import availability, follower
from trunkline.hub import context_of
from trunkline.stores import MemoryStore
from trunkline.stores.base import Page
from trunkline.testing.clock import ManualClock
from trunkline.transports.stream import Stream


async def first(hub: Hub, room: str, count: int, **start: object) -> list[Message]:
    found = []
    async with asyncio.timeout(10):
        async for message in hub.read(room, **start):  # type: ignore[arg-type]
            found.append(message)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_publish_and_read(store: str, tmp_path: Path) -> None:
    url = store if store == "memory:" else f"sqlite:///{tmp_path}/log.db"
    async with Hub(url) as hub:
        receipt = await hub.publish("r", {"n": 1}, id="k", sender="ana")
        again = await hub.publish("r", {"n": 2}, id="k", sender="ana")
        assert (receipt.offset, receipt.duplicate, again.offset, again.duplicate) == (1, False, 1, True)
        [message] = await first(hub, "r", 1, since="start")
        assert (message.data, message.id, message.sender, message.room) == ({"n": 1}, "k", "ana", "r")
        following = asyncio.ensure_future(first(hub, "r", 3))
        await asyncio.sleep(0)
        while not (room := hub._engine.rooms.get_current("r")) or not room.waiters:
            await asyncio.sleep(0)
        for n in range(3):
            await hub.publish("r", n)
        assert [m.data for m in await following] == [0, 1, 2]
        assert [m.data for m in await first(hub, "r", 2, last=2)] == [1, 2]


async def test_publish_with_a_trace() -> None:
    """It is read as it was given, by a page and by those who follow; one that is not valid is ignored."""
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with Hub("memory:") as hub:
        await hub.publish("r", 1, traceparent=parent, tracestate="a=1")
        await hub.publish("r", 2, traceparent="nonsense", tracestate="a=1")
        await asyncio.to_thread(hub.publish_sync, "r", 3, traceparent=parent)
        expected = [(parent, "a=1"), (None, None), (parent, None)]
        assert [(m.traceparent, m.tracestate) for m in await first(hub, "r", 3, since="start")] == expected
        assert [(m.traceparent, m.tracestate) for m in (await hub.page("r")).messages] == expected


async def test_starts_by_itself() -> None:
    """Without `async with`: the first call opens the store, in whatever loop it is made."""
    hub = Hub("memory:")
    assert (await hub.publish("r", 1)).offset == 1
    await hub.close()
    await hub.close()


def test_two_loops_one_after_the_other() -> None:
    """No state is bound to a loop (R61)."""
    for _ in range(2):
        hub = Hub("memory:")

        async def use(hub: Hub = hub) -> int:
            async with hub:
                return (await hub.publish("r", 1)).offset

        assert asyncio.run(use()) == 1


async def test_a_gap_is_never_silent() -> None:
    """Without `on_gap` it is raised; with it, reading goes on behind it."""
    async with Hub("memory:", retention=Retention(messages_max=5)) as hub:
        for n in range(1, 21):
            await hub.publish("r", n)
        with pytest.raises(GapError) as caught:
            await first(hub, "r", 1, since=3)
        assert (caught.value.gap.first, caught.value.gap.last, caught.value.gap.reason) == (4, 15, "trimmed")
        assert "messages 4 to 15 of r are gone" in str(caught.value)
        gaps: list[Gap] = []
        found = await first(hub, "r", 5, since=3, on_gap=gaps.append)
        assert [m.offset for m in found] == [16, 17, 18, 19, 20]
        assert gaps == [caught.value.gap]
        assert [m.offset for m in await first(hub, "r", 5, since=caught.value.gap.next)] == [16, 17, 18, 19, 20]


@pytest.mark.parametrize(
    ("room", "data", "options", "code"),
    [
        ("a b", 1, {}, "bad_room"),
        ("r", 1, {"id": ""}, "bad_id"),
        ("r", "x" * 70_000, {}, "too_large"),
        ("r", float("inf"), {}, None),
    ],
)
async def test_what_cannot_be_published(room: str, data: object, options: dict[str, Any], code: str | None) -> None:
    async with Hub("memory:") as hub:
        if code is None:
            receipt = await hub.publish(room, data, **options)  # msgspec writes null for it, as JavaScript does
            assert receipt.offset == 1
            return
        with pytest.raises(RequestError) as caught:
            await hub.publish(room, data, **options)
        assert caught.value.code == code


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not fact():
            await asyncio.sleep(0)


class Sick(MemoryStore):
    """Fails as long as it is told to, and appends only when it is let."""

    def __init__(self) -> None:
        super().__init__(Retention())
        self.failure: Exception | None = None
        self.lasts = True
        self.ready = asyncio.Event()
        self.ready.set()
        self.asked = asyncio.Event()

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        self.asked.set()
        await self.ready.wait()
        if self.failure:
            failure, self.failure = self.failure, self.failure if self.lasts else None
            raise failure
        return await super().append(drafts)

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        if self.failure:
            raise self.failure
        return await super().read(room, after, messages_max, bytes_max)


@pytest.mark.parametrize("failure", [StoreUnavailable("disk full"), RuntimeError("a bug in a store")])
async def test_a_store_that_fails(failure: Exception) -> None:
    """Publishers get a retriable error, nobody sees the message, and the next publish works."""
    store = Sick()
    async with Hub(store) as hub:
        await hub.publish("r", 1)
        store.failure = failure
        with pytest.raises(StoreUnavailable) as caught:
            await hub.publish("r", 2, id="k")
        assert caught.value.retry_after_ms
        store.failure = None
        assert (await hub.publish("r", 2, id="k")).offset == 2
        assert [m.data for m in await first(hub, "r", 2, since="start")] == [1, 2]


async def test_what_was_not_stored_is_not_overtaken() -> None:
    """Whatever waits behind messages that could not be stored is refused with them, in their room."""
    store = Sick()
    async with Hub(store) as hub:
        store.ready.clear()
        before = asyncio.ensure_future(hub.publish("r", 1))
        await asyncio.wait_for(store.asked.wait(), WAIT_S)
        behind = [asyncio.ensure_future(hub.publish(room, 2)) for room in ("r", "other")]
        await until(lambda: hub._engine.appender.in_flight == 3)
        store.failure, store.lasts = StoreUnavailable("disk full"), False
        store.ready.set()
        with pytest.raises(StoreUnavailable):
            await before
        with pytest.raises(StoreUnavailable, match="an earlier message was not stored"):
            await behind[0]
        assert (await behind[1]).offset == 1


async def test_a_poll_waits_for_the_log() -> None:
    """A log that is away and comes back costs a long poll nothing; one that does not wait is told."""
    store = Sick()
    async with Hub(store) as hub:
        await hub.publish("r", 1)
        store.shared = True  # it is asked each time
        store.failure = StoreUnavailable("away")
        with pytest.raises(StoreUnavailable):
            await hub.page("r", since="start")
        with pytest.raises(StoreUnavailable):
            await hub.page("r", since="start", wait_s=0.05)
        polling = asyncio.ensure_future(hub.page("r", since="start", wait_s=WAIT_S))
        await asyncio.sleep(0.05)
        assert not polling.done()
        store.failure = None
        assert [message.data for message in (await polling).messages] == [1]


async def test_many_who_come_at_once_share_a_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand readers of a room on a shared log come back: each knows what was there when it came, by two reads."""
    url = f"sqlite:///{tmp_path}/log.db?shared=1"
    async with Hub(url) as one, Hub(url) as other:
        epoch = (await one.publish("r", 1)).epoch
        await one.page("r", since="start")
        read, reads = one._engine.store.read, 0

        async def counted(*arguments: Any) -> Any:
            nonlocal reads
            reads += 1
            return await read(*arguments)

        monkeypatch.setattr(one._engine.store, "read", counted)
        early = [asyncio.ensure_future(one.page("r", since="start")) for _ in range(500)]
        await asyncio.sleep(0)
        await other.publish("r", 2)
        late = [asyncio.ensure_future(one.page("r", since=f"{epoch}.2")) for _ in range(500)]
        for page in await asyncio.gather(*early, *late):
            assert page.gap is None
        assert reads <= 4  # of which two are for what is there, and not to learn whether there is more
        early[0] = asyncio.ensure_future(one.page("r", since="start"))
        await asyncio.sleep(0)
        early[0].cancel()  # who goes takes nobody along
        assert (await one.page("r", since="start")).head == 2


@pytest.mark.parametrize("turns", [1, 2])
async def test_opening_among_others(turns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room that is opened while this node and another one write to it in turn has no hole."""
    url = f"sqlite:///{tmp_path}/log.db?shared=1"
    async with Hub(url) as one, Hub(url) as other:
        epoch = (await one.publish("r", 1)).epoch
        read, going_on, there = one._engine.store.read, asyncio.Event(), asyncio.Event()

        async def slow_read(*arguments: Any) -> Any:
            page = await read(*arguments)
            there.set()
            await going_on.wait()
            return page

        monkeypatch.setattr(one._engine.store, "read", slow_read)
        opening = asyncio.ensure_future(one.page("r", since="start"))
        await there.wait()
        if turns == 2:
            await one.publish("r", 2)
        await other.publish("r", 3)
        if turns == 2:
            await one.publish("r", 4)
        head = 2 * turns
        joining = asyncio.ensure_future(one.page("r", since=f"{epoch}.{head}"))  # who told it knew more than we yet do
        await asyncio.sleep(0.01)
        going_on.set()
        await opening
        assert (await joining).gap is None
        offsets = [message.offset for message in (await one.page("r", since=f"{epoch}.1")).messages]
        assert offsets == list(range(2, head + 1))


async def test_no_unbounded_queue() -> None:
    """While the log does not answer, only so many publishes wait; the rest are told to come back."""
    store = Sick()
    store.ready.clear()
    async with Hub(store, limits=Limits(in_flight_max=10)) as hub:
        waiting = [asyncio.ensure_future(hub.publish("r", n)) for n in range(20)]
        await until(lambda: sum(task.done() for task in waiting) == 10)
        refused = [task for task in waiting if task.done()]
        assert all(isinstance(task.exception(), Overloaded) for task in refused)
        store.ready.set()
        receipts = [await task for task in waiting if task not in refused]
        assert [r.offset for r in receipts] == list(range(1, 11))


async def test_closing_answers_everybody() -> None:
    """What waits for the log is answered, what comes later is refused, who reads is told."""
    store = Sick()
    hub = Hub(store)
    await hub.start()
    reading = asyncio.ensure_future(first(hub, "r", 1))
    polling = asyncio.ensure_future(hub._engine.pages.read("r", Start("now"), wait_s=60))
    while not (room := hub._engine.rooms.get_current("r")) or len(room.waiters) < 2:
        await asyncio.sleep(0)
    store.ready.clear()
    publishing = asyncio.ensure_future(hub.publish("other", 1))
    await until(lambda: hub._engine.appender.in_flight == 1)
    closing = asyncio.ensure_future(hub.drain())
    await until(lambda: hub._engine.is_draining)
    with pytest.raises(ShuttingDown):
        await hub.publish("r", 1)
    store.ready.set()
    assert (await publishing).offset == 1
    await closing
    assert (await polling).messages == []
    with pytest.raises(ShuttingDown):
        await reading
    await hub.close()


async def test_idle_rooms_are_forgotten() -> None:
    """Asking for a million rooms does not keep a million rooms."""
    async with Hub("memory:") as hub:
        for n in range(3000):
            await hub._engine.pages.read(f"room-{n}", Start("now"))
        assert hub.statistics()["rooms"] <= 1000


async def test_opening_a_room_while_it_is_written() -> None:
    """However opening falls among the commits, what a reader gets has no hole."""
    for _ in range(30):
        async with Hub("memory:") as hub:
            writing = asyncio.ensure_future(asyncio.gather(*[hub.publish("r", n) for n in range(50)]))
            found = await first(hub, "r", 50, since="start")
            await writing
            assert [m.offset for m in found] == list(range(1, 51))


def test_public_names() -> None:
    """What `trunkline` exports is what there is, and it is in docs/python.md."""
    text = (Path(trunkline.__file__).parents[2] / "docs" / "python.md").read_text("utf-8")
    for name in trunkline.__all__:
        assert hasattr(trunkline, name)
        assert f"`{name}" in text, f"{name} is not documented"


async def test_readiness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not ready when the log does not answer: then clients of a shared log are sent elsewhere (R29)."""
    monkeypatch.setattr(follower, "LOOK_S", 0.01)
    monkeypatch.setattr(availability, "STALLED_S", 0.3)
    hub = Hub(f"sqlite:///{tmp_path}/log.db?shared=1")
    assert hub._engine.unready == "not started"
    transport = httpx.ASGITransport(app=hub.app)
    async with hub, httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:

        async def status(path: str) -> int:
            return (await http.get(path)).status_code

        assert (await status("/readyz"), await status("/livez")) == (200, 200)
        moved: list[int] = []
        stream = Stream(context_of(hub))
        monkeypatch.setattr(Stream, "drain", lambda _, ms: moved.append(ms))
        monkeypatch.setattr(Stream, "abort", lambda _: None)
        stream.opened()
        answers = asyncio.Event()
        heads = hub._engine.store.heads

        async def stalled(rooms: Sequence[str]) -> dict[str, Position]:
            await answers.wait()
            return await heads(rooms)

        monkeypatch.setattr(hub._engine.store, "heads", stalled)
        async with asyncio.timeout(WAIT_S):
            while not moved:
                await asyncio.sleep(0.01)
            assert (await status("/readyz"), await status("/livez")) == (503, 200)
            assert "has not answered" in (await http.get("/readyz")).json()["status"]
            answers.set()
            while await status("/readyz") != 200:
                await asyncio.sleep(0.01)
        stream.closed()
        await hub.drain()
        assert (await http.get("/readyz")).json() == {"status": "draining"}


async def test_what_a_store_of_your_own_has_already(tmp_path: Path) -> None:
    """Settings that would be ignored are refused."""
    store = MemoryStore(Retention())
    with pytest.raises(ConfigError, match="a Store of your own has its own"):
        Hub(store, retention=Retention())
    with pytest.raises(ConfigError, match="a Store of your own has its own"):
        Hub(store, durable=True)


async def test_memory_ends_with_close() -> None:
    hub = Hub("memory:")
    await hub.start()
    first = await hub.publish("r", 1)
    await hub.close()
    await hub.start()
    second = await hub.publish("r", 2)
    assert (second.offset, second.epoch == first.epoch) == (1, False)
    await hub.close()


async def test_a_clock_that_jumps_deletes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Retention by age pauses until the new time has held for ten minutes; going back to where it was, at once."""
    clock = ManualClock()
    async with Hub("memory:", retention=Retention(age_s=3600), clock=clock) as hub:
        await hub.publish("r", 1)
        await hub._engine.retention.trim()
        clock.wall_s += 10 * 365 * 86_400
        await hub._engine.retention.trim()
        assert "the clock has jumped by +315360000 s" in caplog.text
        assert "retention by age pauses until the new time has held for 10 minutes" in caplog.text
        assert (await hub.page("r", since=0)).gap is None
        clock.wall_s -= 10 * 365 * 86_400
        await hub._engine.retention.trim()
        assert "retention by age goes on" in caplog.text
        assert (await hub.page("r", since=0)).gap is None
        clock.wall_s += 2 * 3600
        for _ in range(100):
            clock.tick(5)
            await hub._engine.retention.trim()
            assert (await hub.page("r", since=0)).gap is None
        clock.tick(600)
        await hub._engine.retention.trim()
        assert (await hub.page("r", since=0)).gap is not None


def is_read(hub: Hub, name: str) -> bool:
    room = hub._engine.rooms.get(name)
    return room is not None and bool(room.waiters)


async def test_rooms_that_are_read_are_not_forgotten(tmp_path: Path) -> None:
    """On whichever node: a reader that waits there has lost nothing, and is told nothing. The others go."""
    clock = ManualClock()
    url = f"sqlite:///{tmp_path}/log.db?shared=1"
    settings: dict[str, Any] = {"retention": Retention(age_s=10), "clock": clock}
    async with Hub(url, **settings) as one, Hub(url, **settings) as other:
        epochs = {room: (await one.publish(room, 1)).epoch for room in ("here", "there", "nowhere")}
        gaps: list[Gap] = []
        readings = [
            asyncio.ensure_future(first(hub, room, 1, on_gap=gaps.append))
            for hub, room in ((one, "here"), (other, "there"))
        ]
        async with asyncio.timeout(WAIT_S):
            while not (
                one._engine.cluster and len(one._engine.cluster) and is_read(one, "here") and is_read(other, "there")
            ):
                await asyncio.sleep(0.01)
        clock.tick(60)
        await one._engine.retention.trim()
        assert await one._engine.store.empty_rooms(clock.wall_ms(), 10) == ["here", "there"]
        receipts = {room: await one.publish(room, 2) for room in epochs}
        assert {room: (receipt.offset, receipt.epoch == epochs[room]) for room, receipt in receipts.items()} == {
            "here": (2, True), "there": (2, True), "nowhere": (1, False),
        }  # fmt: skip
        assert [[message.offset for message in found] for found in await asyncio.gather(*readings)] == [[2], [2]]
        assert gaps == []


async def test_rooms_behind_those_that_are_read_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them are read."""
    clock = ManualClock()
    monkeypatch.setattr("trunkline.engine.retention.EMPTY_ROOMS_AT_ONCE", 5)
    async with Hub("memory:", retention=Retention(age_s=10), clock=clock) as hub:
        for n in range(30):
            await hub.publish(f"r{n}", 1)
        readings = [asyncio.ensure_future(first(hub, f"r{n}", 1)) for n in range(12)]
        async with asyncio.timeout(WAIT_S):
            while not all((room := hub._engine.rooms.get(f"r{n}")) and room.waiters for n in range(12)):
                await asyncio.sleep(0.01)
        clock.tick(60)
        await hub._engine.retention.trim()
        left = await hub._engine.store.empty_rooms(clock.wall_ms(), 100)
        assert set(left) == {f"r{n}" for n in range(12)}
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)
        clock.tick(61)
        await hub._engine.retention.trim()
        assert await hub._engine.store.empty_rooms(clock.wall_ms(), 100) == []


async def test_nothing_can_be_stored(tmp_path: Path) -> None:
    """Publishing is refused, reading goes on, and nobody is sent here; it is over when it is over."""
    path = tmp_path / "log.db"
    async with Hub(f"sqlite:///{path}") as hub:
        await hub.publish("r", 1)
        path.rename(tmp_path / "away.db")
        async with asyncio.timeout(WAIT_S):
            while hub._engine.unready is None:
                await asyncio.sleep(0.05)
        assert "deleted, moved or replaced" in hub._engine.unready
        with pytest.raises(StoreUnavailable):
            await hub.publish("r", 2)
        assert [message.data for message in (await hub.page("r", since="start")).messages] == [1]
        (tmp_path / "away.db").rename(path)
        async with asyncio.timeout(WAIT_S):
            while hub._engine.unready is not None:
                await asyncio.sleep(0.05)
        assert (await hub.publish("r", 2)).offset == 2


@pytest.mark.parametrize(
    "settings", [{"ping_timeout_s": 60.0}, {"origins": "https://a.example"}, {"origins": ["a.example"]}]
)
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Hub("memory:", **settings)


async def test_marks_of_nothing_and_senders_without_a_name() -> None:
    async with Hub("memory:") as hub:
        with pytest.raises(RequestError) as caught:
            await hub.mark("r", "ana", -1)
        assert caught.value.code == "bad_position"
        with pytest.raises(RequestError):
            await hub.signal("r", "typing", sender="x" * 2000)
