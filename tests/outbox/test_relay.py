"""The relay: it stops, wakes, and waits longer while nothing works."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from tests.support import until
from trunkline.outbox import Pending, Relay


class Table:
    """An outbox in memory."""

    def __init__(self) -> None:
        self.rows: list[Pending] = []
        self.looks = 0
        self.is_away = False
        self.is_released = False

    def pending(self, limit: int, without: Sequence[str]) -> list[Pending]:
        self.looks += 1
        if self.is_away:
            raise OSError("the database is away")
        return [row for row in self.rows if row.room not in without][:limit]

    def remove(self, messages: Sequence[Pending]) -> None:
        self.rows = [row for row in self.rows if row not in messages]

    def release(self) -> None:
        self.is_released = True

    def refuse(self, message: Pending, why: str) -> None:
        self.rows.remove(message)


def test_a_relay_that_is_woken_does_not_wait_for_its_turn() -> None:
    table, said = Table(), threading.Event()
    relay = Relay(table, lambda *_, **__: said.set(), poll_s=60)
    with relay:
        until(lambda: table.looks == 1, "it has looked")
        table.rows.append(Pending(1, "r", "a", None, "1"))
        relay.wake()
        assert said.wait(20)


def test_it_stops_behind_the_message_that_is_on_its_way() -> None:
    table, going, may = Table(), threading.Event(), threading.Event()
    table.rows = [Pending(n, "r", f"{n}", None, "1") for n in range(5)]

    def publish(*_: object, **__: object) -> None:
        going.set()
        assert may.wait(20)

    relay = Relay(table, publish)
    relay.start()
    assert going.wait(20)
    stopping = threading.Thread(target=relay.stop)
    stopping.start()
    may.set()
    stopping.join()
    assert [row.number for row in table.rows] == [1, 2, 3, 4]
    assert relay.published == 1
    assert table.is_released


def test_a_database_that_is_away_is_asked_less_often(caplog: pytest.LogCaptureFixture) -> None:
    table = Table()
    table.is_away = True
    with Relay(table, lambda *_, **__: None, poll_s=0.001):
        until(lambda: table.looks >= 8, "it goes on")
        looks = table.looks
        time.sleep(0.05)  # in which it would have looked 50 times
        assert table.looks - looks < 25
    assert "the database is away" in caplog.text
