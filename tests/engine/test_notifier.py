import asyncio
import itertools
from collections.abc import Sequence

from tests.engine.support import Listener, running, settled, virtual
from trunkline.core.position import Start
from trunkline.engine.notifier import PACE_S, Audience, Event, Notifier


class Source:
    audience: Audience = "watchers"

    def __init__(self, notifier: Notifier) -> None:
        self.news: dict[str, list[Event]] = {}
        self.forgotten: list[str] = []
        notifier.register(self)

    def has_news(self, room: str) -> bool:
        return bool(self.news.get(room))

    def flush(self, room: str) -> Sequence[Event]:
        return self.news.pop(room, [])

    def expire(self, room: str, now: float) -> None: ...

    def is_idle(self, room: str) -> bool:
        return not self.has_news(room)

    def forget(self, room: str) -> None:
        self.forgotten.append(room)


@virtual
async def test_changes_are_told_together_at_a_pace() -> None:
    async with running() as engine:
        source, watcher = Source(engine.notifier), Listener(engine)
        engine.notifier.subject("r").watchers.add(watcher)
        times = []
        watcher.notify = lambda notification: times.append(asyncio.get_running_loop().time())  # type: ignore[method-assign]
        for n in range(100):
            source.news.setdefault("r", []).append(Event("presence", b"%d" % n))
            engine.notifier.changed("r")
            await asyncio.sleep(0.01)
        await settled()
        assert 15 <= len(times) <= 25
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert min(gaps) >= PACE_S * 0.99


@virtual
async def test_a_full_watcher_is_skipped() -> None:
    async with running() as engine:
        source, watcher = Source(engine.notifier), Listener(engine)
        engine.notifier.subject("r").watchers.add(watcher)
        watcher.full = True
        source.news["r"] = [Event("presence", b"{}")]
        engine.notifier.changed("r")
        await settled()
        assert (watcher.skipped, watcher.notifications) == (["r"], [])
        assert engine.counters.notified == 0


@virtual
async def test_the_origin_is_not_told() -> None:
    async with running() as engine:
        source = Source(engine.notifier)
        source.audience = "readers"
        sender, other = Listener(engine), Listener(engine)
        for listener in (sender, other):
            await listener.join("r", Start("now"))
        source.news["r"] = [Event("signal", b"1", sender), Event("signal", b"2")]
        engine.notifier.changed("r", for_readers=True)
        await settled()
        assert sender.notifications == [("signal", b"2")]
        assert other.notifications == [("signal", b"1"), ("signal", b"2")]


@virtual
async def test_waiters_are_woken_by_what_they_watch() -> None:
    async with running() as engine:
        Source(engine.notifier)
        woken: list[str] = []
        waiters = engine.notifier.subject("r").waiters
        waiters[lambda: woken.append("watches")] = True
        waiters[lambda: woken.append("reads")] = False
        engine.notifier.changed("r")
        await settled()
        assert woken == ["watches"]
        engine.signals.send("r", "typing", None, "~m", b"1")
        await settled()
        assert woken == ["watches", "reads"]


@virtual
async def test_versions_are_those_of_one_process() -> None:
    async with running() as engine:
        notifier = engine.notifier
        version = notifier.version
        number = notifier.changed("r")
        assert notifier.parse_version(version) == number - 1
        for text in ("", "x", "other-5", f"{notifier.name}-x", f"{notifier.name}-{'9' * 20}"):
            assert notifier.parse_version(text) == 0
        assert notifier.newest_version("r", watch=True) == number
        assert notifier.newest_version("r", watch=False) < number


@virtual
async def test_what_nothing_needs_is_forgotten() -> None:
    async with running() as engine:
        source = Source(engine.notifier)
        engine.notifier.changed("r")
        await settled(3)
        assert engine.notifier.find("r") is None
        assert source.forgotten == ["r"]
