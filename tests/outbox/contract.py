"""What every outbox keeps, in whatever database and by whatever library it is written."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.support import until
from trunkline import Hub, StoreUnavailable
from trunkline.errors import RequestError
from trunkline.hub import run_sync, stop_background
from trunkline.outbox import Outbox, Relay

Write = Callable[..., str]
"""`publish_later`, in the transaction that has given it."""


class Log:
    """A hub that runs on a thread of its own, and can be away."""

    def __init__(self) -> None:
        self.hub = Hub("memory:")
        self.is_away = False
        self.refused = 0  # while it was away
        self.forgets_acks = False
        self.refuses: str | None = None

    def publish(self, room: str, data: Any, *, id: str, sender: str | None, timeout_s: float) -> object:  # noqa: A002
        if self.is_away:
            self.refused += 1
            raise StoreUnavailable("the log is away")
        if room == self.refuses:
            raise RequestError("forbidden", "not in this room")
        receipt = self.hub.publish_sync(room, data, id=id, sender=sender, timeout_s=timeout_s)
        if self.forgets_acks:
            raise StoreUnavailable("the ack was lost")
        return receipt

    def data(self, room: str) -> list[Any]:
        page = run_sync(self.hub, lambda: self.hub.page(room, since="start", limit=1000), 10)
        return [message.data for message in page.messages]

    def senders(self, room: str) -> list[str | None]:
        page = run_sync(self.hub, lambda: self.hub.page(room, since="start", limit=1000), 10)
        return [message.sender for message in page.messages]

    def close(self) -> None:
        run_sync(self.hub, self.hub.close, 10)
        stop_background(self.hub)


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.close()


def run_all(relay: Relay) -> None:
    while relay.run_once():
        pass


class OutboxContract:
    """A subclass has fixtures: `begin` makes transactions, `outbox` is the table."""

    writes_side_by_side = True  # two transactions can write at the same time

    @pytest.fixture
    def relay(self, outbox: Outbox, log: Log) -> Relay:
        return Relay(outbox, log.publish, poll_s=0.01)

    def test_what_is_committed_is_published_once_and_in_order(
        self, begin: Callable[[], AbstractContextManager[Write]], relay: Relay, log: Log
    ) -> None:
        for n in range(3):
            with begin() as write:
                write("orders:1", {"n": n, "of": "é\x00"}, sender="ada")
                write("orders:2", n)
        run_all(relay)
        run_all(relay)
        assert log.data("orders:1") == [{"n": n, "of": "é\x00"} for n in range(3)]
        assert log.data("orders:2") == [0, 1, 2]
        assert log.senders("orders:1") == ["ada"] * 3
        assert log.senders("orders:2") == [None] * 3
        assert relay.published == 6

    def test_what_is_rolled_back_is_not_published(
        self, begin: Callable[[], AbstractContextManager[Write]], relay: Relay, log: Log
    ) -> None:
        with pytest.raises(ZeroDivisionError), begin() as write:
            write("orders:1", 1 / int(write("orders:1", "never") == ""))
        with begin() as write:
            write("orders:1", "this")
        run_all(relay)
        assert log.data("orders:1") == ["this"]

    def test_a_transaction_that_wrote_first_and_commits_last_is_published(
        self, begin: Callable[[], AbstractContextManager[Write]], relay: Relay, log: Log
    ) -> None:
        if not self.writes_side_by_side:
            return  # this database has one writer at a time
        written, may_commit = threading.Event(), threading.Event()

        def slowly() -> None:
            with begin() as write:
                write("slow", "the lower number")
                written.set()
                assert may_commit.wait(20)

        thread = threading.Thread(target=slowly)
        thread.start()
        assert written.wait(20)
        with begin() as write:
            write("quick", "the higher number")
        run_all(relay)
        assert log.data("quick") == ["the higher number"]
        assert log.data("slow") == []
        may_commit.set()
        thread.join()
        run_all(relay)
        assert log.data("slow") == ["the lower number"]

    def test_a_room_s_messages_are_in_the_order_of_commits(
        self, begin: Callable[[], AbstractContextManager[Write]], relay: Relay, log: Log
    ) -> None:
        """Four threads commit at their own pace, while the relay looks all the time."""
        held: list[str] = []  # a transaction holds the room from its write to its commit

        def commit(thread: int) -> None:
            chance = random.Random(thread)
            for n in range(8):
                with begin() as write:
                    write("hot", f"{thread}.{n}")
                    held.append(f"{thread}.{n}")
                    time.sleep(chance.uniform(0, 0.01))

        threads = [threading.Thread(target=commit, args=(n,)) for n in range(4)]
        with relay:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            until(lambda: len(log.data("hot")) == 32, "all are published")
        assert log.data("hot") == held

    def test_a_relay_that_dies_before_it_has_removed_them_publishes_them_once(
        self, begin: Callable[[], AbstractContextManager[Write]], relay: Relay, log: Log
    ) -> None:
        with begin() as write:
            for n in range(3):
                write("r", n)
        log.forgets_acks = True
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                relay.run_once()
        log.forgets_acks = False
        run_all(relay)
        assert log.data("r") == [0, 1, 2]

    def test_two_relays_at_once_change_nothing(
        self, begin: Callable[[], AbstractContextManager[Write]], outbox: Outbox, log: Log
    ) -> None:
        relays = [Relay(outbox, log.publish, poll_s=0.01) for _ in range(2)]
        with relays[0], relays[1]:
            for n in range(40):
                with begin() as write:
                    write("a", n)
                    write("b", n)
            until(lambda: len(log.data("a")) == len(log.data("b")) == 40, "all are published")
        assert log.data("a") == log.data("b") == list(range(40))

    def test_while_the_log_is_away_everything_waits(
        self, begin: Callable[[], AbstractContextManager[Write]], relay: Relay, log: Log
    ) -> None:
        log.is_away = True
        with relay:
            with begin() as write:
                write("a", 1)
                write("b", 2)
            until(lambda: log.refused >= 2, "it was tried again")
            log.is_away = False
            until(lambda: (log.data("a"), log.data("b")) == ([1], [2]), "all are published")

    def test_a_room_that_refuses_holds_up_no_other(
        self, begin: Callable[[], AbstractContextManager[Write]], relay: Relay, log: Log
    ) -> None:
        log.refuses = "closed"
        with begin() as write:
            write("closed", 1)
            write("open", 2)
        run_all(relay)
        assert log.data("open") == [2]
        assert (relay.published, relay.refused) == (1, 0)

    def test_a_message_that_no_log_takes_is_kept_with_the_reason_out_of_the_way(
        self, begin: Callable[[], AbstractContextManager[Write]], outbox: Outbox, relay: Relay, log: Log
    ) -> None:
        with begin() as write:
            write("r", "x" * 1000, id="large")
            write("r", "small")
        publish = log.publish

        def smaller(room: str, data: Any, **more: Any) -> object:
            if len(data) > 100:
                raise RequestError("too_large", "at most 100 are allowed")
            return publish(room, data, **more)

        relay = Relay(outbox, smaller)
        run_all(relay)
        assert log.data("r") == ["small"]
        assert relay.refused == 1
        assert outbox.pending(10, []) == []

    @pytest.mark.parametrize(
        ("room", "data", "more", "code"),
        [
            ("no room", 1, {}, "bad_room"),
            ("r", "x" * 70_000, {}, "too_large"),
            ("r", 1, {"id": "a\nb"}, "bad_id"),
            ("r", 1, {"sender": ""}, "bad_command"),
        ],
    )
    def test_what_no_log_would_take_is_refused_in_the_transaction(
        self,
        begin: Callable[[], AbstractContextManager[Write]],
        outbox: Outbox,
        room: str,
        data: Any,
        more: Any,
        code: str,
    ) -> None:
        with pytest.raises(RequestError) as refused, begin() as write:
            write(room, data, **more)
        assert refused.value.code == code
        assert outbox.pending(10, []) == []

    def test_what_was_given_an_id_is_published_with_it(
        self, begin: Callable[[], AbstractContextManager[Write]], relay: Relay, log: Log
    ) -> None:
        for _ in range(2):  # the same twice: a task that was run again
            with begin() as write:
                assert write("r", "paid", id="pay-7") == "pay-7"
        run_all(relay)
        assert log.data("r") == ["paid"]

    def test_a_large_message_is_kept_whole(
        self, begin: Callable[[], AbstractContextManager[Write]], relay: Relay, log: Log
    ) -> None:
        with begin() as write:
            write("r", "é" * 32_000)
        run_all(relay)
        assert log.data("r") == ["é" * 32_000]
