"""The relay: it stops, wakes, and waits longer while nothing works."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from tests.support import until
from trunkline.client import ClientError
from trunkline.errors import HookFailed, RequestError
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


def test_what_the_application_refuses_is_out_of_the_way() -> None:
    """By HTTP, in its own words; and what is no JSON at all."""
    table = Table()
    table.rows = [Pending(n, "r", f"{n}", None, data) for n, data in enumerate(['"bad"', "{", '"good"'])]
    said: list[object] = []

    def publish(room: str, data: object, **_: object) -> None:
        if data == "bad":
            raise ClientError("profanity", "mind your language")
        said.append(data)

    relay = Relay(table, publish)
    while relay.run_once():
        pass
    assert (said, relay.refused) == (["good"], 2)


@pytest.mark.parametrize("error", [HookFailed("the application failed"), RequestError("forbidden", "not there")])
def test_rooms_that_fail_hold_up_no_others_however_much_waits_there(error: Exception) -> None:
    table = Table()
    table.rows = [Pending(n, f"bad{n % 3}", f"{n}", None, "1") for n in range(700)]
    table.rows += [Pending(n, "good", f"{n}", None, "1") for n in range(700, 705)]
    said: list[str] = []

    def publish(room: str, data: object, *, id: str, **_: object) -> None:  # noqa: A002
        if room != "good":
            raise error
        said.append(id)

    relay = Relay(table, publish)
    for _ in range(3):
        relay.run_once()
    assert said == ["700", "701", "702", "703", "704"]
    assert len(table.rows) == 700


@pytest.mark.parametrize("code", ["timeout", "unauthorized", "rate_limited", "http 502", "store_unavailable"])
def test_what_may_pass_is_tried_again(code: str) -> None:
    table = Table()
    table.rows = [Pending(1, "r", "a", None, "1")]

    def publish(*_: object, **__: object) -> None:
        raise ClientError(code, "not now")

    relay = Relay(table, publish)
    with pytest.raises(ClientError):
        relay.run_once()
    assert len(table.rows) == 1


def test_a_database_that_is_away_is_asked_less_often(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest: list[float] = []  # of the pauses

    def shortest(low: float, high: float) -> float:
        longest.append(high)
        return low

    monkeypatch.setattr("trunkline.outbox.relay.random.uniform", shortest)
    table = Table()
    table.is_away = True
    with Relay(table, lambda *_, **__: None, poll_s=0.001):
        until(lambda: table.looks >= 8, "it goes on")
    assert longest[:6] == pytest.approx([0.002, 0.004, 0.008, 0.016, 0.032, 0.064])
    assert "the database is away" in caplog.text
