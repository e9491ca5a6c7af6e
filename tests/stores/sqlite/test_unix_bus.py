import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import eventually
from trunkline.stores.sqlite.unix_bus import DATAGRAM_BYTES_MAX, UNSAID_MAX, UnixBus


class Process:
    def __init__(self, folder: Path) -> None:
        self.hints: list[bytes] = []
        self.messages: list[bytes] = []
        self.bus = UnixBus(folder, self.hints.append)
        self.bus.on_message = self.messages.append
        self.bus.start()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Process, Process]]:
    one, other = Process(tmp_path / "wake"), Process(tmp_path / "wake")
    yield one, other
    one.bus.close()
    other.bus.close()
    assert list((tmp_path / "wake").iterdir()) == []


async def test_hints_and_messages(pair: tuple[Process, Process]) -> None:
    one, other = pair
    one.bus.hint(b"a room")
    assert one.bus.send(b"to all")
    assert one.bus.send(b"to one", to=other.bus.name)
    await eventually(lambda: len(other.messages) == 2)
    assert (other.hints, other.messages) == ([b"a room"], [b"to all", b"to one"])
    assert one.hints == one.messages == []


async def test_a_hint_that_is_too_large_says_that_any_room_may_have_moved(pair: tuple[Process, Process]) -> None:
    one, other = pair
    one.bus.hint(b"x" * DATAGRAM_BYTES_MAX)
    await eventually(lambda: other.hints)
    assert other.hints == [b""]


async def test_messages_wait_for_a_process_that_has_no_time_and_are_bounded(pair: tuple[Process, Process]) -> None:
    """In order; and once so many wait, the sender is told that the message is lost."""
    one, other = pair
    sent = [one.bus.send(b"%d" % n, to=other.bus.name) for n in range(2 * UNSAID_MAX)]
    assert sent.count(False) > 0
    arrived = [b"%d" % n for n, was_sent in enumerate(sent) if was_sent]
    await eventually(lambda: len(other.messages) == len(arrived))
    assert other.messages == arrived


async def test_a_process_that_is_gone(tmp_path: Path) -> None:
    one, other = Process(tmp_path / "wake"), Process(tmp_path / "wake")
    assert one.bus.is_alive(other.bus.name)
    socket = tmp_path / "wake" / other.bus.name
    os.link(socket, tmp_path / "kept")
    other.bus.close()
    os.link(tmp_path / "kept", socket)  # as after kill -9
    assert not one.bus.is_alive(other.bus.name)
    assert one.bus.send(b"hello")
    assert not socket.exists()
    one.bus.close()


async def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wake").mkdir()
    (tmp_path / "wake").chmod(0o777)
    with pytest.raises(PermissionError, match="chmod 700"):
        Process(tmp_path / "wake")
