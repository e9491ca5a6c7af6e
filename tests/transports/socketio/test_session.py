"""Sessions of Engine.IO, without sockets and without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.engine.support import virtual
from tests.engine.test_tunnels import LoopClock
from trunkline.core.limits import Limits
from trunkline.errors import RequestError
from trunkline.transports.socketio import session as module
from trunkline.transports.socketio.session import BUFFER_BYTES_MAX, SEND_BYTES_MAX, Out, Session, Sessions, Settings
from trunkline.wire.engineio import Packet


class Owner:
    def __init__(self) -> None:
        self.got: list[str | bytes] = []
        self.ends: list[str] = []
        self.fills = 0

    def received(self, data: str | bytes) -> None:
        if data == "bad":
            raise ValueError(data)
        self.got.append(data)

    def full_changed(self) -> None:
        self.fills += 1

    def ended(self, reason: str) -> None:
        self.ends.append(reason)


class Carrier:
    def __init__(self) -> None:
        self.sent: list[Out] = []
        self.has_left = self.held = False
        self.waiting = 0

    def send(self, packets: Sequence[Out]) -> None:
        self.sent += packets

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False

    def leave(self) -> None:
        self.has_left = True

    def unsent(self) -> int:
        return self.waiting


def make() -> tuple[Sessions, Session, Owner]:
    owner = Owner()
    sessions = Sessions(Settings(ping_interval_s=3.0, ping_timeout_s=2.0), LoopClock(), lambda: "a1", lambda _: owner)
    return sessions, sessions.open({}), owner


async def polled(session: Session) -> str | None:
    waiting = session.poll()
    return None if waiting is None else await waiting


@virtual
async def test_what_is_sent_waits_for_the_next_poll() -> None:
    sessions, session, _ = make()
    assert (await polled(session) or "").startswith('0{"sid":"a1.')
    session.message("one")
    session.message("two", b"\x01")
    assert await polled(session) == "4one\x1e4two\x1ebAQ=="
    assert sessions.get(session.sid) is session


@virtual
async def test_a_poll_waits_for_what_is_sent() -> None:
    _, session, _ = make()
    await polled(session)
    waiting = session.poll()
    assert waiting is not None
    assert not waiting.done()
    session.message("x")
    assert await waiting == "4x"


@virtual
async def test_who_is_not_heard_after_a_ping_is_gone() -> None:
    sessions, session, owner = make()
    await polled(session)
    assert await polled(session) == "2"
    session.heard()
    assert await polled(session) == "2"
    assert asyncio.get_running_loop().time() == pytest.approx(6.0)
    await asyncio.sleep(2.1)
    assert owner.ends == ["ping timeout"]
    assert await polled(session) is None
    assert len(sessions) == 0


@virtual
async def test_a_process_that_was_away_blames_nobody() -> None:
    _, session, owner = make()
    await polled(session)
    await asyncio.sleep(3.5)
    real = asyncio.get_running_loop().time
    asyncio.get_running_loop().time = lambda: real() + 20  # type: ignore[method-assign]
    await asyncio.sleep(0.5)
    assert owner.ends == []
    session.heard()
    await asyncio.sleep(1)
    assert owner.ends == []


@virtual
async def test_a_session_that_is_not_polled_is_full_and_then_cut() -> None:
    _, session, owner = make()
    await polled(session)
    session.message("x" * BUFFER_BYTES_MAX)
    assert (session.full, owner.fills) == (True, 1)
    await polled(session)
    await asyncio.sleep(0)
    assert (session.full, owner.fills) == (False, 2)
    session.message("x" * (SEND_BYTES_MAX + 1))
    await asyncio.sleep(0)
    assert owner.ends == ["transport error"]


@virtual
async def test_a_websocket_that_does_not_read_is_cut() -> None:
    sessions, _, owner = make()
    carrier = Carrier()
    session = sessions.open({}, carrier)
    carrier.waiting = SEND_BYTES_MAX + 1
    session.message("x")
    await asyncio.sleep(0)
    assert owner.ends == ["transport error"]
    assert carrier.has_left


@virtual
async def test_going_over_to_a_websocket() -> None:
    _, session, owner = make()
    await polled(session)
    waiting = session.poll()
    carrier, late = Carrier(), Carrier()
    session.offer(carrier)
    session.offer(late)
    assert not session.upgrade(carrier)
    assert session.probe(carrier)
    assert not session.probe(late)
    assert waiting is not None
    assert await waiting == "6"
    session.message("meanwhile")
    session.hold()
    assert session.upgrade(carrier)
    assert carrier.sent == ["4meanwhile"]
    assert carrier.held
    assert late.has_left
    assert (session.transport, await polled(session)) == ("websocket", None)
    after = Carrier()
    session.offer(after)
    assert after.has_left
    session.carrier_ended(carrier)
    assert owner.ends == ["transport close"]


@virtual
async def test_a_websocket_that_is_full_with_what_waited_is_full() -> None:
    _, session, _ = make()

    class Small(Carrier):
        def send(self, packets: Sequence[Out]) -> None:
            session.fill(full=True)

    session.message("x" * BUFFER_BYTES_MAX)
    carrier = Small()
    session.offer(carrier)
    session.probe(carrier)
    session.upgrade(carrier)
    assert session.full


@virtual
async def test_an_address_has_so_many_sessions() -> None:
    owner = Owner()
    limits = Limits(connections_per_address_max=2, connections_max=3)
    sessions = Sessions(Settings(), LoopClock(), lambda: "a1", lambda _: owner, lambda: limits)
    opened = [sessions.open({}, key="one") for _ in range(2)]
    for key, code in (("one", "too_many_connections"), ("two", None), ("two", "server_full")):
        try:
            sessions.check_count(key)
            found = None
        except RequestError as error:
            found = error.code
        assert found == code
        if found is None:
            sessions.open({}, key=key)
    opened[0].end("transport close")
    sessions.check_count("one")


@virtual
async def test_a_websocket_that_ends_while_it_is_tried_changes_nothing() -> None:
    _, session, owner = make()
    await polled(session)
    carrier = Carrier()
    session.offer(carrier)
    session.probe(carrier)
    session.carrier_ended(carrier)
    session.message("x")
    assert await polled(session) == "4x"
    assert owner.ends == []


@virtual
async def test_goodbye_is_told_to_the_poll_that_comes_next() -> None:
    sessions, session, owner = make()
    await polled(session)
    session.receive(Packet("1"))
    assert owner.ends == ["transport close"]
    session.message("too late")
    assert await polled(session) == "6"
    assert await polled(session) is None
    assert sessions.get(session.sid) is None


@virtual
async def test_goodbye_is_forgotten() -> None:
    sessions, session, _ = make()
    await polled(session)
    session.receive(Packet("1"))
    await asyncio.sleep(module.LEAVING_S + 1)
    assert sessions.get(session.sid) is None


@virtual
@pytest.mark.parametrize("packet", [Packet("5"), Packet("2"), Packet("2", "probe"), Packet("4", "bad")])
async def test_what_has_no_place_ends_the_session(packet: Packet) -> None:
    _, session, owner = make()
    session.receive(Packet("4", "good"))
    session.receive(packet)
    session.receive(Packet("4", "too late"))
    assert (owner.got, owner.ends) == (["good"], ["transport error"])


@virtual
async def test_ids_cannot_be_guessed_and_name_their_node() -> None:
    sessions, _, _ = make()
    ids = {sessions.new_sid() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(sid.startswith("a1.") and len(sid) == 3 + 20 for sid in ids)
