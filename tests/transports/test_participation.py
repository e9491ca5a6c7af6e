"""What one stream takes part in, and what its room is told of that."""

from tests.engine.support import Listener, running, settled, virtual
from trunkline.core.position import Start
from trunkline.core.presence_options import PresenceOptions
from trunkline.engine.engine import Engine
from trunkline.transports.participation import Participation

SHOWN = PresenceOptions("client-12345", watch=True, data=b"{}")
WATCHING = PresenceOptions("client-12345", watch=True)


async def joined(engine: Engine, member: str) -> tuple[Listener, Participation]:
    listener = Listener(engine)
    await listener.join("r", Start("now"))
    return listener, Participation(engine, listener, member, f"client-{member}")


def members(engine: Engine) -> list[str]:
    _, found = engine.presence.members("r")
    return sorted(member.member for member in found)


@virtual
async def test_a_stream_is_shown_and_watches() -> None:
    async with running() as engine:
        listener, taking = await joined(engine, "ana")
        taking.enter("r", SHOWN)
        await settled()
        assert members(engine) == ["ana"]
        assert taking.watched == ("r",)
        assert listener.notifications[0][0] == "presence"
        taking.leave("r")
        assert members(engine) == []
        assert not taking.watched


@virtual
async def test_one_that_only_watches_is_not_shown() -> None:
    async with running() as engine:
        listener, taking = await joined(engine, "ana")
        _, other = await joined(engine, "ben")
        taking.enter("r", WATCHING)
        await settled()
        before = len(listener.notifications)
        other.enter("r", SHOWN)
        await settled()
        assert members(engine) == ["ben"]
        assert len(listener.notifications) > before


@virtual
async def test_one_that_ends_stays_for_the_grace_time() -> None:
    async with running() as engine:
        _, taking = await joined(engine, "ana")
        taking.enter("r", SHOWN)
        taking.leave_all()
        assert members(engine) == ["ana"]
        await settled(60)
        assert members(engine) == []


@virtual
async def test_what_a_full_socket_missed_is_told_anew() -> None:
    async with running() as engine:
        listener, taking = await joined(engine, "ana")
        _, other = await joined(engine, "ben")
        taking.enter("r", WATCHING)
        await settled()
        listener.full = True
        other.enter("r", SHOWN)
        await settled()
        assert listener.skipped == ["r"]
        taking.skipped("r")
        listener.full = False
        before = len(listener.notifications)
        taking.writable()
        await settled()
        assert any(b"ben" in body for _, body in listener.notifications[before:])
