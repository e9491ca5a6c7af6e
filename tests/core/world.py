"""A small world around the pure core, from a seed: clients, links that lose, a store that crashes, no clock at all.

How it works:

1. One log is the truth: per epoch, the list of committed messages. The server's rooms and cursors are the real core.
2. Publishers send messages with ids and repeat what was not acked, as a client does. A send can be lost on its way,
   its ack can be lost on the way back, and a crash can fall before or after the commit.
3. Readers follow by stream (a cursor) or by poll. What fan-out delivers lies in the link until the link lets it
   through; a cut loses all that lies in it. A reader's state is its position and nothing else.
4. Each turn does one randomly chosen thing: publish, commit, one fan-out step, answer a store read, pass something
   through a link, cut, reconnect, fill or drain a socket, trim, crash, fail over to a log that lacks the last messages,
   or (rarely) lose the whole log.
5. Every reader checks every message as it comes: the next offset of its epoch, or one that a gap led to, with the
   content that the log has there. At the end the world calms down, and every reader must reach the head.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import msgspec

from tests.readers import SilentReader
from trunkline.core.batch import Batch
from trunkline.core.cursor import Cursor, Room
from trunkline.core.fanout import Fanout
from trunkline.core.limits import Tuning
from trunkline.core.message import Message
from trunkline.core.position import Former, Gap, Lineage, Start, overtaken, parse_since, resolve
from trunkline.observe.counters import Counters

TUNING = Tuning(tail_messages_max=8, piece_messages_max=3, cohort_max=2)
CAPACITY = 6  # messages that a link holds before its socket is full


@dataclass
class Log:
    epoch: str
    messages: list[Message] = field(default_factory=list)
    first: int = 1
    ids: dict[str, int] = field(default_factory=dict)
    lineage: Lineage = ()

    @property
    def head(self) -> int:
        return len(self.messages)

    def append(self, message_id: str) -> int:
        """The offset; the same for the same id, as long as it is retained."""
        if self.ids.get(message_id, 0) >= self.first:
            return self.ids[message_id]
        offset = self.ids[message_id] = self.head + 1
        self.messages.append(Message("r", offset, message_id, None, 0, msgspec.Raw(b"0")))
        return offset

    def read(self, after: int, limit: int) -> list[Message]:
        after = max(after, self.first - 1)
        return self.messages[after : after + limit]


class Reader(SilentReader):
    """A client and its link, and the server's end of it (a core Reader)."""

    def __init__(self, world: World, name: str, polls: bool) -> None:
        self.world, self.name, self.polls = world, name, polls
        self.position = ""  # empty: from the start
        self.link: list[tuple[str, Message] | Gap] = []
        self.cursor: Cursor | None = None
        self.full = False
        self.seen = 0

    # The server's end.

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        assert cursor is self.cursor
        assert not self.full, "a full reader is given nothing"
        self.link += [(batch.epoch, message) for message in batch.messages]
        self.full = len(self.link) >= CAPACITY

    def gap(self, cursor: Cursor, gap: Gap) -> None:
        self.link.append(gap)

    def epoch_changed(self, cursor: Cursor) -> None:
        """The next message says it."""

    # The client.

    def start(self) -> Start:
        return parse_since(self.position) if self.position else Start("start")

    def receive(self, item: tuple[str, Message] | Gap) -> None:
        if isinstance(item, Gap):
            self.position = item.next
            return
        epoch, message = item
        truth = self.world.logs[epoch].messages[message.offset - 1]
        assert message == truth, f"{self.name} got {message}, the log has {truth}"
        if self.position:
            at = parse_since(self.position)
            if at.number == 0:  # whoever has read nothing has lost nothing of what was read
                at = Start("after", 0, epoch)
            for former in self.world.logs[epoch].lineage:
                if former.epoch == at.epoch and at.number <= former.offset:
                    at = Start("after", at.number, epoch)
            assert (at.epoch, at.number + 1) == (epoch, message.offset), f"{self.name} at {self.position} got {message}"
        self.position = f"{epoch}.{message.offset}"
        self.seen += 1


class World:
    """One schedule."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.logs: dict[str, Log] = {}
        self.new_log()
        self.waiting: list[tuple[str, int]] = []  # sent, not committed: (id, publisher)
        self.unacked: dict[int, list[str]] = {n: [] for n in range(3)}
        self.acked: dict[str, tuple[str, int]] = {}
        self.sent = 0
        self.readers = [Reader(self, f"reader {n}", polls=n % 3 == 2) for n in range(6)]
        self.restart()

    def new_log(self) -> None:
        self.log = Log(f"e{len(self.logs)}")
        self.logs[self.log.epoch] = self.log

    def restart(self) -> None:
        """A new server process on the same log: links, cursors and whatever was not committed are gone."""
        self.waiting.clear()
        for reader in self.readers:
            self.cut(reader)
        self.counters = Counters()
        self.fanout = Fanout(TUNING, self.counters)
        self.room = Room("r", self.log.epoch, self.log.first, self.log.head, self.log.lineage)
        self.reading: list[tuple[str, Cursor, int, list[Message]]] = []

    def cut(self, reader: Reader) -> None:
        reader.link.clear()
        reader.full = False
        if reader.cursor is not None:
            self.fanout.detach(reader.cursor)
            reader.cursor = None

    def connect(self, reader: Reader) -> None:
        room = self.room
        offset, gap = resolve(reader.start(), "r", room.epoch, room.first, room.head, room.lineage)
        reader.cursor = Cursor(reader, room, offset)
        if gap is not None:
            reader.gap(reader.cursor, gap)
        self.fanout.attach(reader.cursor)

    def poll(self, reader: Reader) -> None:
        """A poll whose answer may be lost: only then is nothing received."""
        room = self.room
        after, gap = resolve(reader.start(), "r", room.epoch, room.first, room.head, room.lineage)
        messages = room.since(after, 3, 1 << 20) if after < room.head else []
        if messages is None:
            messages = [m for m in self.log.read(after, 3) if m.offset <= room.head]
            gap = overtaken(gap, "r", room.epoch, after, messages[0].offset if messages else room.head + 1)
        if self.rng.random() < 0.8:
            for item in ([gap] if gap else []) + [(room.epoch, m) for m in messages]:
                reader.receive(item)

    def commit(self) -> None:
        """The store takes all that waits; some acks are lost on their way back."""
        before = self.log.head
        for message_id, publisher in self.waiting:
            offset = self.log.append(message_id)
            known = self.acked.get(message_id)
            if known is not None and known[0] == self.log.epoch and known[1] >= self.log.first:
                assert known[1] == offset, "the same id got another offset"
            if self.rng.random() < 0.8 and message_id in self.unacked[publisher]:
                self.acked[message_id] = (self.log.epoch, offset)
                self.unacked[publisher].remove(message_id)
        self.waiting.clear()
        if self.rng.random() < 0.02:
            self.restart()  # committed, and dead before anybody was told
        elif self.log.head > before:
            self.fanout.appended(self.room, self.log.messages[before:])

    def publish(self) -> None:
        publisher = self.rng.randrange(len(self.unacked))
        if self.unacked[publisher] and self.rng.random() < 0.4:
            self.waiting.append((self.rng.choice(self.unacked[publisher]), publisher))
        else:
            self.sent += 1
            message_id = f"{publisher}-{self.sent}"
            self.unacked[publisher].append(message_id)
            if self.rng.random() < 0.9:
                self.waiting.append((message_id, publisher))

    def trim(self) -> None:
        self.log.first = self.rng.randint(self.log.first, self.log.head + 1)
        if self.rng.random() < 0.5:  # a server may learn of it late
            self.room.first = max(self.room.first, self.log.first)

    def lose_log(self) -> None:
        self.new_log()
        for unacked in self.unacked.values():
            unacked.clear()
        self.restart()

    def fail_over(self) -> None:
        """Another machine goes on with the log, and lacks what was committed last. No connection is cut."""
        known = max(self.log.first - 1, self.log.head - self.rng.randrange(4))
        before = self.log
        lineage = [Former(epoch, min(offset, known)) for epoch, offset in before.lineage]
        self.log = Log(
            f"e{len(self.logs)}",
            before.messages[:known],
            before.first,
            {message_id: offset for message_id, offset in before.ids.items() if offset <= known},
            (*lineage, Former(before.epoch, known)),
        )
        self.logs[self.log.epoch] = self.log
        self.fanout.epoch_changed(self.room, self.log.epoch, self.log.first, self.log.head, self.log.lineage)

    def answer_read(self) -> None:
        # What was there when it was asked for: trimming and appending go on until the answer is here.
        for cursor in self.fanout.take_reads():
            self.reading.append((self.log.epoch, cursor, self.log.first, self.log.read(cursor.offset, 3)))
        if self.reading and self.rng.random() < 0.6:
            epoch, cursor, first, messages = self.reading.pop(self.rng.randrange(len(self.reading)))
            if self.rng.random() < 0.2 or epoch != self.room.epoch:
                self.fanout.read_failed(cursor)
            else:
                self.fanout.fetched(cursor, first, messages)

    def pass_through(self, reader: Reader) -> None:
        for _ in range(self.rng.randint(1, CAPACITY)):
            if reader.link:
                reader.receive(reader.link.pop(0))
        if reader.full and not reader.link:
            reader.full = False
            if reader.cursor is not None:
                self.fanout.writable(reader.cursor)

    def turn(self) -> None:
        reader = self.rng.choice(self.readers)
        match self.rng.choices(
            ["publish", "commit", "step", "read", "link", "cut", "connect", "trim", "crash", "fail over", "lose"],
            [20, 12, 30, 12, 20, 3, 8, 0.7, 0.4, 0.4, 0.1],
        )[0]:
            case "publish":
                self.publish()
            case "commit" if self.waiting:
                self.commit()
            case "step":
                self.fanout.step()
            case "read":
                self.answer_read()
            case "link":
                self.pass_through(reader)
            case "cut":
                self.cut(reader)
            case "connect" if reader.polls:
                self.poll(reader)
            case "connect" if reader.cursor is None:
                self.connect(reader)
            case "trim":
                self.trim()
            case "crash":
                self.restart()
            case "fail over":
                self.fail_over()
            case "lose":
                self.lose_log()

    def calm_down(self) -> None:
        """Everybody connects, nothing is lost any more, and all work is done."""
        for publisher, ids in self.unacked.items():
            self.waiting += [(message_id, publisher) for message_id in ids]
        head = self.log.head
        for message_id, _ in self.waiting:
            self.log.append(message_id)
        if self.log.head > head:
            self.fanout.appended(self.room, self.log.messages[head:])
        for _ in range(5000):
            if all(self.arrived(reader) for reader in self.readers):
                return
            for reader in self.readers:
                if reader.polls:
                    self.poll(reader)
                elif reader.cursor is None:
                    self.connect(reader)
                self.pass_through(reader)
            self.answer_read()
            self.fanout.step()
        raise AssertionError(f"somebody never arrived: {[(r.name, r.position, r.cursor) for r in self.readers]}")

    def arrived(self, reader: Reader) -> bool:
        """Whether it has all of the log: where it stands is the head, if perhaps by the name of an epoch before."""
        if not reader.position:
            return False
        log = self.log
        after, gap = resolve(reader.start(), "r", log.epoch, log.first, log.head, log.lineage)
        return gap is None and after == log.head

    def check(self) -> None:
        """Every acked message is in its log, once, where the ack said."""
        for message_id, (epoch, offset) in self.acked.items():
            assert self.logs[epoch].messages[offset - 1].id == message_id
        for log in self.logs.values():
            retained = [m.id for m in log.messages[log.first - 1 :]]
            assert len(set(retained)) == len(retained), "an id is in the log twice"


def run(seed: int, turns: int = 250) -> World:
    """One schedule; raises AssertionError if a promise is broken."""
    world = World(seed)
    for _ in range(turns):
        world.turn()
    world.publish()
    world.commit() if world.waiting else None
    world.calm_down()
    world.check()
    return world
