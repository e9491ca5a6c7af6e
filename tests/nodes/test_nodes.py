"""Hubs of one log: what is not in it, they tell each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support import WAIT_S, eventually
from trunkline import Hub
from trunkline.core.grant import EVERYTHING, Grant
from trunkline.core.presence_options import PresenceOptions
from trunkline.core.revocation import Revocations
from trunkline.errors import RequestError
from trunkline.stores.base import Bus


@pytest.fixture
async def hubs(tmp_path: Path) -> AsyncIterator[list[Hub]]:
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(Hub(f"sqlite:///{tmp_path}/log.db?shared=1", presence_grace_s=0.2))
            for _ in range(3)
        ]
        await eventually(lambda: all(hub._engine.cluster is not None and len(hub._engine.cluster) == 2 for hub in made))
        yield made


def names(hub: Hub, room: str = "a") -> list[str]:
    return sorted(member.member for member in hub.members(room))


async def all_know(hubs: list[Hub], *members: str) -> None:
    """Wait until these, and no others, are the members on each node."""
    await eventually(lambda: all(names(hub) == list(members) for hub in hubs))


async def test_presence(hubs: list[Hub]) -> None:
    """Who comes to one node is known to all, and gone when the last of their connections is, wherever that was."""
    for hub in hubs[:2]:
        hub._engine.presence.enter("a", "ana", "phone" if hub is hubs[0] else "laptop", b'{"name":"Ana"}')
    hubs[1]._engine.presence.enter("a", "ben", "b", b"{}")
    await all_know(hubs, "ana", "ben")
    hubs[0]._engine.presence.leave("a", "ana", "phone", at_once=True)
    hubs[2]._engine.presence.enter("a", "cat", "c", b"{}")
    await all_know(hubs, "ana", "ben", "cat")
    hubs[1]._engine.presence.leave("a", "ana", "laptop")
    await all_know(hubs, "ben", "cat")


async def test_a_client_that_moves_says_nothing(hubs: list[Hub]) -> None:
    """From one node to another within the grace: no leave, no join, and no waiting for the grace at the end."""
    told: list[tuple[str, bool]] = []
    hubs[2].on_presence(lambda room, member, came: told.append((member, came)))
    hubs[2]._engine.presence.enter("a", "cat", "c", b"{}")
    hubs[0]._engine.presence.enter("a", "ana", "phone-12345", b"{}")
    await eventually(lambda: names(hubs[2]) == ["ana", "cat"])
    hubs[0]._engine.presence.leave("a", "ana", "phone-12345", grace_s=60)
    hubs[1]._engine.presence.enter("a", "ana", "phone-12345", b"{}")
    await eventually(lambda: not hubs[0]._engine.presence.local_of("a"))
    hubs[1]._engine.presence.leave("a", "ana", "phone-12345", at_once=True)
    await all_know(hubs, "cat")
    assert told == [("cat", True)]


async def test_polls_of_one_client_on_two_nodes(hubs: list[Hub]) -> None:
    """One shortly after the other, so that what the nodes tell of them crosses: one of them keeps the place."""
    hubs[2]._engine.presence.enter("a", "cat", "c", b"{}")
    for _ in range(20):
        for hub in hubs[:2]:
            hub._engine.presence.enter("a", "ana", "phone-12345", b"{}")
            hub._engine.presence.leave("a", "ana", "phone-12345", grace_s=60)
            await asyncio.sleep(0.002)
        await eventually(lambda: not hubs[0]._engine.presence._rooms["a"].presence.is_local("ana"))
        await all_know(hubs, "ana", "cat")


class Held:
    """A stream of a client."""

    def __init__(self) -> None:
        self.presence = PresenceOptions("client-ana")
        self.grant = Grant(user=None)
        self.dismissed = False

    def dismiss(self, error: object) -> None:
        self.dismissed = True


async def test_streams_of_the_same_moment(hubs: list[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not count its streams opens two in one millisecond, on two nodes: one goes, and one stays."""
    streams = {}
    for hub in hubs[:2]:
        cluster = hub._engine.cluster
        assert cluster is not None
        monkeypatch.setattr(cluster, "tick", lambda: 1)
        streams[cluster.name] = Held()
        hub._engine.connections.replace_others(streams[cluster.name])  # type: ignore[arg-type]
    first, last = sorted(streams)
    await eventually(lambda: streams[first].dismissed)
    assert not streams[last].dismissed


async def test_a_node_that_ends_takes_its_members_along(hubs: list[Hub]) -> None:
    """After the grace, in which they may come back by another one; and one application is told of it."""
    told: list[tuple[str, bool]] = []
    for hub in hubs[1:]:
        hub.on_presence(lambda room, member, came: told.append((member, came)))
    for n in range(3):
        hubs[0]._engine.presence.enter("a", f"ana{n}", "", b"{}")
    await eventually(lambda: len(names(hubs[1])) == len(names(hubs[2])) == 3)
    hubs[2]._engine.presence.enter("a", "ana1", "", b"{}")
    await hubs[0].close()
    await all_know(hubs[1:], "ana1")
    await eventually(lambda: len(told) == 2)
    assert sorted(told) == [("ana0", False), ("ana2", False)]


async def test_who_comes_late_is_told_everything(hubs: list[Hub], tmp_path: Path) -> None:
    for n in range(2000):
        hubs[n % 2]._engine.presence.enter(f"room-{n % 50}", f"member {n}", "", b'{"name":"%s"}' % (b"x" * 500))
    async with Hub(f"sqlite:///{tmp_path}/log.db?shared=1") as late:
        await eventually(lambda: sum(len(names(late, f"room-{n}")) for n in range(50)) == 2000)
        cluster = late._engine.cluster
        assert cluster is not None
        await eventually(lambda: cluster.incomplete_nodes == [])


async def test_more_words_than_a_socket_takes(hubs: list[Hub]) -> None:
    """Ten datagrams wait in a socket on many machines; two hundred tickets that are asked for at once are all good."""
    grants = [Grant(user=f"user {n}") for n in range(200)]
    tickets = [hubs[0]._access.issue_ticket(grant) for grant in grants]
    await eventually(lambda: all(hub._engine.cluster is not None and len(hub._engine.cluster) == 2 for hub in hubs))
    addresses = [hubs[1]._access.tickets.address(ticket) for ticket in tickets]
    assert await asyncio.gather(*[hubs[1]._administration._redeem_elsewhere(*one) for one in addresses]) == grants


async def test_signals_and_marks(hubs: list[Hub]) -> None:
    """A poll at one node hears what is said at another, and its own client's signals are not told to it."""
    await hubs[0].publish("a", 1)
    for hub in hubs:
        await hub._engine.follower.open("a")
        hub._engine.notifier._version = 1
        await hub._engine.live.page("a", 0, watch=True)  # somebody polls
    await hubs[0].signal("a", "typing", {"is": True}, sender="ana")
    await hubs[1].mark("a", "ben", 1)

    async def heard(hub: Hub) -> bool:
        page = await hub._engine.live.page("a", 1, watch=True)
        return [s.name for s in page.signals] == ["typing"] and [m.member for m in page.marks] == ["ben"]

    async with asyncio.timeout(WAIT_S):
        for hub in hubs:
            while not await heard(hub):
                await asyncio.sleep(0.01)


async def test_administration(hubs: list[Hub]) -> None:
    """Disconnecting, asking again and revoking reach every node; a ticket of one is good at another, once."""

    class Registered:
        def __init__(self, hub: Hub) -> None:
            self.grant = Grant(user="ana", permissions=EVERYTHING, issued_at=1.0)
            self.session = hub._engine.connections.new_session()
            self.said: list[str] = []
            hub._access.registry.add(self)

        def dismiss(self, error: RequestError) -> None:
            self.said.append(error.code)

        def recheck(self) -> None:
            self.said.append("recheck")

        def renewed(self, grant: Grant) -> None:
            self.said.append(f"until {grant.expires_at}")

    guests = [Registered(hub) for hub in hubs]
    assert await hubs[0].recheck("ana") == (3, [])
    assert await hubs[1].disconnect("ana") == (3, [])
    assert await hubs[1].disconnect("nobody") == (0, [])
    assert await hubs[2]._administration.renew(guests[0].session, Grant(user="ana", expires_at=2e9))
    assert not await hubs[2]._administration.renew(guests[1].session, Grant(user="ben"))
    assert not await hubs[2]._administration.renew("nowhere-1", Grant(user="ana"))
    await hubs[0].revoke(token_id="newer")
    hubs[2]._access.revocations = Revocations(60.0)  # it has not heard of that
    assert not await hubs[2]._administration.renew(guests[0].session, Grant(user="ana", token_id="newer"))
    assert (await hubs[0].revoke(user="ana")) == (3, [])
    assert [guest.said for guest in guests] == [
        ["recheck", "disconnected", "until 2000000000.0", "revoked"],
        ["recheck", "disconnected", "revoked"],
        ["recheck", "disconnected", "revoked"],
    ]


async def test_tickets(hubs: list[Hub]) -> None:
    grant = Grant(user="ana", permissions=EVERYTHING)
    ticket = hubs[0]._access.issue_ticket(grant)
    node, key = hubs[1]._access.tickets.address(ticket)
    assert not hubs[1]._access.tickets.is_ours(ticket)
    found = await asyncio.gather(*[hub._administration._redeem_elsewhere(node, key) for hub in hubs[1:]])
    assert sorted(found, key=repr) == [grant, None]
    assert await hubs[1]._administration._redeem_elsewhere(node, key) is None
    assert await hubs[1]._administration._redeem_elsewhere("nowhere", key) is None


def bus_of(hub: Hub) -> Bus:
    assert hub._engine.store.bus is not None
    return hub._engine.store.bus


async def test_a_node_that_does_not_answer_is_missing(hubs: list[Hub]) -> None:
    bus_of(hubs[2]).on_message = lambda _: None
    reached = await hubs[0].disconnect("ana")
    assert reached == (0, [hubs[2]._engine.name])


async def test_nonsense_is_survived(hubs: list[Hub]) -> None:
    bus = bus_of(hubs[0])
    for nonsense in (b"", b"x", b"\xff" * 1000, b"\x93\xa4Beat\x01"):
        bus.send(nonsense)
    hubs[0]._engine.presence.enter("a", "ana", "", b"{}")
    await eventually(lambda: names(hubs[1]) == ["ana"])
