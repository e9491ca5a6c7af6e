"""What must hold of what clients saw and were acked, whatever happened in between.

A client's history is a list of records, as the agents say them (`tests/client/agent.py`):
`{"joined": {"epoch", "head"}}`, `{"offset", "data": [name, n], "at", "seen"}` (a message; ms), `{"gap": {…}}`,
`{"stored": n, "offset"}`, `{"refused": n, "code"}`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

YOUNG = 300  # messages: a room that an heir has never heard of is a few seconds old

Said = tuple[str, int]  # who published, and the how manieth of theirs


class History:
    """One client's, checked record by record as they come.

    Attributes:
        log: What it holds for the room's log: the message at each offset from 1, less what a gap took back.
        deliveries: Messages that it was given, those that were taken back later included.
        late: (ms when it was stored, ms until it was here) of each delivery.
        stored: The offset of each of its own messages that was acked.
        violations: What must not be, in words.
    """

    def __init__(self, name: str, room: str) -> None:
        self.name, self.room = name, room
        self.log: list[Said] = []
        self.deliveries = 0
        self.late: list[tuple[int, int]] = []
        self.stored: dict[int, int] = {}
        self.gaps: Counter[str] = Counter()
        self.taken_back = 0
        self.ended = False
        self.violations: list[str] = []
        self._here: dict[Said, int] = {}
        self._epoch: str | None = None

    def feed(self, record: dict[str, Any]) -> None:
        """The next thing that it said."""
        if "offset" in record and "data" in record:
            self._message(record)
        elif "gap" in record:
            self._gap(record["gap"])
        elif "joined" in record:
            self._epoch = record["joined"]["epoch"]
        elif "stored" in record:
            if self.stored.setdefault(record["stored"], record["offset"]) != record["offset"]:
                self._wrong(f"its {record['stored']} was acked at {self.stored[record['stored']]}, then {record}")
        elif "refused" in record or "error" in record:
            self._wrong(f"it was refused: {record}")

    def _wrong(self, what: str) -> None:
        self.violations.append(f"{self.room}, {self.name}: {what}")

    def _message(self, record: dict[str, Any]) -> None:
        offset, said = record["offset"], (record["data"][0], record["data"][1])
        self.deliveries += 1
        self.late.append((record["at"], record["seen"] - record["at"]))
        if offset != len(self.log) + 1:
            self._wrong(f"{said} came as {offset} behind {len(self.log)} in {self._epoch}")
        elif said in self._here:
            self._wrong(f"{said} came as {offset} and as {self._here[said]} in {self._epoch}")
        else:
            self._here[said] = offset
            self.log.append(said)
            self.ended = said[0] == "end"

    def _gap(self, gap: dict[str, Any]) -> None:
        """Only what a takeover took back may be missing, and only what we had."""
        self.gaps[gap["reason"]] += 1
        first, last = gap["from"], gap["to"]
        if (gap["reason"], first, last) == ("epoch", 1, 0) and len(self.log) <= YOUNG:
            last = len(self.log)  # the whole room was younger than what the heir has
        if gap["reason"] != "epoch" or not 1 <= first <= last == len(self.log):
            self._wrong(f"a gap behind {len(self.log)} that nothing explains: {gap}")
        elif gap["next"] != f"{gap['epoch']}.{first - 1}":
            self._wrong(f"a gap that goes on elsewhere: {gap}")
        else:
            self._epoch = gap["epoch"]
            self.taken_back += last - first + 1
            for said in self.log[first - 1 :]:
                del self._here[said]
            del self.log[first - 1 :]


def check(histories: list[History], logs: dict[str, list[Said]], counts: dict[str, int]) -> list[str]:
    """Violations, of single histories and of all together.

    Args:
        logs: Each room's, as the servers have it in the end.
        counts: How many messages each client published.
    """
    violations = [violation for history in histories for violation in history.violations]
    for room, log in logs.items():
        for said, times in Counter(log).items():
            if times > 1:
                violations.append(f"{room}: {said} is in the log {times} times")
        heard = Counter[str]()
        for name, n in log:
            if n != heard[name] + 1 and name in counts:
                violations.append(f"{room}: {name}'s {n} is in the log behind its {heard[name]}")
            heard[name] = n
    for history in histories:
        log = logs[history.room]
        if history.log != log:
            first = next(
                (n for n, (one, other) in enumerate(zip(history.log, log, strict=False)) if one != other), None
            )
            where = len(history.log) if first is None else first
            violations.append(
                f"{history.room}, {history.name}: it holds {history.log[where : where + 3]}"
                f" for {log[where : where + 3]} behind offset {where};"
                f" its end is at {len(history.log)}, the log's at {len(log)}"
            )
        count = counts.get(history.name, 0)
        if len(history.stored) != count:
            violations.append(f"{history.room}, {history.name}: {len(history.stored)} of {count} were acked")
        for n, offset in history.stored.items():
            if offset > len(log) or log[offset - 1] != (history.name, n):
                violations.append(f"{history.room}, {history.name}: its {n} was acked at {offset}, and is not there")
    return violations
