from tests.engine.support import Listener, running, settled, virtual
from trunkline.core.position import Start


@virtual
async def test_readers_are_told_and_the_sender_is_not() -> None:
    async with running() as engine:
        sender, other = Listener(engine), Listener(engine)
        for listener in (sender, other):
            await listener.join("r", Start("now"))
        engine.signals.send("r", "typing", "ana", "ana", b"true", sender)
        await settled()
        assert sender.notifications == []
        [(kind, body)] = other.notifications
        assert kind == "signal"
        assert b'"name":"typing"' in body


@virtual
async def test_of_each_name_only_the_newest_is_sent() -> None:
    async with running() as engine:
        listener = Listener(engine)
        await listener.join("r", Start("now"))
        engine.signals.send("r", "first", None, "~m", b"0")
        await settled()
        for n in range(50):
            engine.signals.send("r", "pointer", None, "~m", b"%d" % n)
        await settled()
        assert len(listener.notifications) <= 3
        assert b'"data":49' in listener.notifications[-1][1]


@virtual
async def test_polls_get_the_signals_of_the_last_moments() -> None:
    async with running() as engine:
        await engine.follower.open("r")
        engine.signals.send("r", "early", None, "~m", b"1")
        await engine.live.page("r", 0, watch=False)
        version = engine.notifier.version_number
        engine.signals.send("r", "typing", None, "~m", b"1")
        assert [signal.name for signal in engine.signals.since("r", version)] == ["typing"]
        await settled(15)
        assert engine.signals.since("r", version) == []


@virtual
async def test_a_signal_into_a_room_that_nothing_reads_is_lost() -> None:
    async with running() as engine:
        engine.signals.send("r", "typing", None, "~m", b"1")
        assert engine.notifier.find("r") is None
