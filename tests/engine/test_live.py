import asyncio

from tests.engine.support import publish, running, settled, virtual
from trunkline.core.position import Start
from trunkline.core.presence_options import PresenceOptions
from trunkline.engine.live import LiveWatch


@virtual
async def test_a_snapshot_has_members_and_marks() -> None:
    async with running() as engine:
        await publish(engine, "r", 1)
        engine.presence.enter("r", "ana", "", b"{}")
        await engine.read_marks.mark("r", "ana", 1)
        notification = await engine.live.snapshot("r")
        assert [kind for kind, _ in notification.events] == ["presence", "seen"]


@virtual
async def test_a_poll_is_told_what_is_new_to_it() -> None:
    async with running() as engine:
        await engine.follower.open("r")
        engine.presence.enter("r", "ana", "", b"{}")
        first = await engine.live.page("r", 0, watch=True)
        assert first.presence is not None
        version = engine.notifier.version_number
        nothing = await engine.live.page("r", version, watch=True)
        assert (nothing.signals, nothing.presence, nothing.marks) == ([], None, [])
        engine.signals.send("r", "typing", None, "~m", b"1")
        page = await engine.live.page("r", version, watch=False)
        assert ([signal.name for signal in page.signals], page.presence) == (["typing"], None)


@virtual
async def test_a_poll_is_woken_by_what_it_watches() -> None:
    async with running() as engine:
        await engine.follower.open("r")
        await engine.live.page("r", 0, watch=True)
        loop = asyncio.get_running_loop()
        engine.notifier.changed("r")
        await settled()
        for options, wakes_at in ((PresenceOptions(watch=True), 10), (PresenceOptions(), 25)):
            begin = loop.time()
            watch = LiveWatch(engine.notifier, ["r"], engine.notifier.version_number, options)
            loop.call_later(10, engine.presence.enter, "r", f"m{wakes_at}", "", b"{}")
            await engine.pages.poll([("r", Start("now"))], 100, 25.0, watch)
            assert round(loop.time() - begin) == wakes_at
        knows_nothing = LiveWatch(engine.notifier, ["r"], 0, PresenceOptions())
        assert knows_nothing.has_news()
        await settled()
