"""The directory of rooms on one node; tests/nodes/test_corrections.py has it on several."""

from trunkline import Hub


async def test_rooms_page_by_page() -> None:
    async with Hub("memory:") as hub:
        for name in ("a", "chat:1", "chat:2", "chat:3", "d"):
            await hub.publish(name, "x")
        await hub.publish("chat:2", "y")
        first = await hub.admin.rooms("chat:", limit=2)
        assert [room.room for room in first.rooms] == ["chat:1", "chat:2"]
        assert (first.next, first.missing_nodes) == ("chat:2", [])
        two = first.rooms[1]
        assert (two.first, two.head, two.messages, two.readers, two.members, two.bytes > 0) == (1, 2, 2, 0, 0, True)
        assert first.next is not None
        last = await hub.admin.rooms("chat:", after=first.next, limit=2)
        assert ([room.room for room in last.rooms], last.next) == (["chat:3"], None)
        assert len((await hub.admin.rooms(limit=10_000)).rooms) == 5
        assert (await hub.admin.rooms("nothing")).rooms == []
