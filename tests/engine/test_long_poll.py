import asyncio
from collections.abc import Callable

from tests.engine.support import virtual
from trunkline.core.cursor import Room
from trunkline.engine.long_poll import wait_for_news


class Watch:
    def __init__(self) -> None:
        self.wakes: list[Callable[[], None]] = []

    def has_news(self) -> bool:
        return False

    def add_waiter(self, wake: Callable[[], None]) -> None:
        self.wakes.append(wake)

    def remove_waiter(self, wake: Callable[[], None]) -> None:
        self.wakes.remove(wake)


@virtual
async def test_the_first_room_that_moves_ends_the_wait() -> None:
    rooms, loop = [Room("a", "e", 1, 0), Room("b", "e", 1, 0)], asyncio.get_running_loop()
    loop.call_later(3, rooms[1].wake)
    await wait_for_news(rooms, 25.0, None, lambda: False)
    assert loop.time() == 3
    assert [room.waiters for room in rooms] == [set(), set()]


@virtual
async def test_news_beside_messages_end_it_too() -> None:
    watch, loop = Watch(), asyncio.get_running_loop()

    def wake() -> None:
        watch.wakes[0]()

    loop.call_later(5, wake)
    await wait_for_news([Room("a", "e", 1, 0)], 25.0, watch, lambda: False)
    assert (loop.time(), watch.wakes) == (5, [])


@virtual
async def test_the_time_ends_it_and_a_server_that_stops() -> None:
    room, loop = Room("a", "e", 1, 0), asyncio.get_running_loop()
    await wait_for_news([room], 25.0, None, lambda: False)
    assert loop.time() == 25
    await wait_for_news([room], 25.0, None, lambda: True)
    assert loop.time() == 25
