import asyncio

import pytest

from tests.engine.support import Listener, running, virtual
from trunkline.core.attempt import Attempt
from trunkline.core.presence_options import PresenceOptions
from trunkline.engine.connections import Connections
from trunkline.observe.counters import Counters
from trunkline.testing.clock import ManualClock


@virtual
async def test_connections_are_pinged_and_silent_ones_expire() -> None:
    async with running(ping_interval_s=30.0, ping_timeout_s=10.0) as engine:
        silent, alive = Listener(engine), Listener(engine)
        buckets = [engine.connections.add(one) for one in (silent, alive)]
        for _ in range(400):
            await asyncio.sleep(0.1)
            alive.heard = True
        assert "expire" in silent.events
        assert "ping" in alive.events
        assert "expire" not in alive.events
        for one, bucket in zip((silent, alive), buckets, strict=True):
            engine.connections.remove(one, bucket)
        assert len(engine.connections) == 0


@virtual
async def test_a_drain_cuts_those_that_stay() -> None:
    async with running() as engine:
        stays = Listener(engine)
        bucket = engine.connections.add(stays)
        await engine.connections.drain(1000, 2.0)
        assert stays.events == ["drain", "abort"]
        assert asyncio.get_running_loop().time() == pytest.approx(2, abs=0.1)
        engine.connections.remove(stays, bucket)


@virtual
async def test_a_client_has_one_stream() -> None:
    async with running() as engine:
        first, second = Listener(engine, client_id="client-1"), Listener(engine, client_id="client-1")
        assert engine.connections.replace_others(first)
        assert engine.connections.replace_others(second)
        assert (first.events, second.events) == (["dismiss replaced"], [])
        assert engine.connections.find(None, "client-1") is second
        engine.connections.closed(first)
        assert engine.connections.find(None, "client-1") is second
        engine.connections.closed(second)
        assert engine.connections.find(None, "client-1") is None


@virtual
async def test_a_stream_that_comes_late_is_the_one_that_ends() -> None:
    async with running() as engine:
        newer, older = Listener(engine), Listener(engine)
        newer.presence = PresenceOptions("client-1", attempt=Attempt("life-1234", 2))
        older.presence = PresenceOptions("client-1", attempt=Attempt("life-1234", 1))
        engine.connections.replace_others(newer)
        assert not engine.connections.replace_others(older)
        assert (newer.events, older.events) == ([], ["dismiss replaced"])


def test_the_timeout_is_shorter_than_the_interval() -> None:
    with pytest.raises(ValueError, match="must be shorter"):
        Connections("n", 10.0, 10.0, Counters(), ManualClock(), None)


@virtual
async def test_sessions_have_names_of_their_own() -> None:
    async with running() as engine:
        names = {engine.connections.new_session() for _ in range(100)}
        assert len(names) == 100
        assert all(name.startswith(engine.name) for name in names)
