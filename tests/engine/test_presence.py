import pytest

from tests.engine.support import Listener, running, settled, virtual
from trunkline.core import presence as core
from trunkline.errors import RequestError


@virtual
async def test_watchers_are_told_of_changes() -> None:
    async with running() as engine:
        watcher = Listener(engine)
        engine.notifier.subject("r").watchers.add(watcher)
        engine.presence.enter("r", "ana", "phone", b'{"name":"Ana"}')
        await settled()
        engine.presence.leave("r", "ana", "phone", at_once=True)
        await settled()
        assert [kind for kind, _ in watcher.notifications] == ["presence", "presence"]
        assert b'"joined"' in watcher.notifications[0][1]
        assert b'"left":["ana"]' in watcher.notifications[1][1]


@virtual
async def test_a_member_that_comes_back_within_the_grace_never_left() -> None:
    told: list[tuple[str, str, bool]] = []
    async with running(presence_grace_s=5.0) as engine:
        engine.presence.hook = lambda room, member, joined: told.append((room, member, joined))
        engine.presence.enter("r", "ana", "phone", b"{}")
        await settled()
        engine.presence.leave("r", "ana", "phone")
        await settled(3)
        engine.presence.enter("r", "ana", "phone", b"{}")
        await settled(10)
        assert told == [("r", "ana", True)]
        engine.presence.leave("r", "ana", "phone")
        await settled(10)
        assert told[1:] == [("r", "ana", False)]
        assert engine.presence.members("r") == (0, [])


@virtual
async def test_a_hook_that_fails_stops_nothing() -> None:
    async with running() as engine:

        async def fail(room: str, member: str, joined: bool) -> None:
            raise ValueError("a bug")

        engine.presence.hook = fail
        engine.presence.enter("r", "ana", "", b"{}")
        await settled()
        engine.presence.enter("r", "ben", "", b"{}")
        await settled()
        assert engine.presence.members("r")[0] == 2


@virtual
async def test_a_room_has_so_many_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "MEMBERS_MAX", 2)
    async with running() as engine:
        for name in ("ana", "ben"):
            engine.presence.enter("r", name, "", b"{}")
        with pytest.raises(RequestError, match="at most 2 members"):
            engine.presence.enter("r", "cat", "", b"{}")


@virtual
async def test_polls_are_told_of_members_when_they_have_changed() -> None:
    async with running() as engine:
        engine.presence.enter("r", "ana", "", b"{}")
        version = engine.notifier.version_number
        assert engine.presence.members_since("r", version) is None
        engine.presence.enter("r", "ben", "", b"{}")
        found = engine.presence.members_since("r", version)
        assert found is not None
        assert [member.member for member in found[1]] == ["ana", "ben"]
        engine.presence.leave_poller("r", "ben", "")
