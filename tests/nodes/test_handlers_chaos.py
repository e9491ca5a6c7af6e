"""Three nodes are killed and paused in turn, while clients publish and call, and a consumer works on all of them."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import Server, eventually

FAULTS_S = 3.0  # between two faults
PAUSE_S = 7.0  # longer than a lease: others have taken over when it goes on
ROOMS = 40
COMMAND = [sys.executable, "-m", "trunkline", "run", "tests.nodes.handlers_app:app", "--port", "PORT"]


class House:
    """Three nodes of one log, and what clients have been told."""

    def __init__(self, nodes: list[Server], notes: Path) -> None:
        self.nodes = nodes
        self.notes = notes
        self.stored: dict[str, dict[int, str]] = defaultdict(dict)  # by room: offset → id
        self.answers: dict[str, str] = {}  # by call: its result, or the code of its refusal
        self.is_over = False

    async def publish_for_ever(self, http: aiohttp.ClientSession, who: int) -> None:
        n = 0
        while not self.is_over:
            n += 1
            room, message_id = f"orders:{random.randrange(ROOMS)}", f"{who}-{n}"
            body = {"data": {"n": n}, "id": message_id}
            while True:
                answer = await self._post(http, f"/rooms/{room}", body)
                if answer is not None and "offset" in answer:
                    self.stored[room][answer["offset"]] = message_id
                    break
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.01)

    async def call_for_ever(self, http: aiohttp.ClientSession, who: int) -> None:
        n = 0
        while not self.is_over:
            n += 1
            call_id = f"{who}-{n}"
            body = {"data": {"s": random.choice((0, 0.05, 0.5))}, "id": call_id}
            began = time.monotonic()
            while time.monotonic() - began < 45:
                answer = await self._post(http, "/calls/do", body)
                if answer is not None and "data" in answer:
                    self.answers[call_id] = answer["data"]
                    break
                if answer is not None and answer["error"]["code"] == "outcome_unknown":
                    self.answers[call_id] = "outcome_unknown"
                    break
                await asyncio.sleep(0.05)

    async def _post(self, http: aiohttp.ClientSession, path: str, body: Any) -> dict[str, Any] | None:
        """What any of the nodes answers, sometimes one after another got it, too; None if it does not."""
        try:
            timeout = aiohttp.ClientTimeout(total=random.choice((0.2, 2, 10)))
            async with http.post(random.choice(self.nodes).url + path, json=body, timeout=timeout) as response:
                return json.loads(await response.text())  # type: ignore[no-any-return]
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None

    async def fail_for(self, seconds: float) -> None:
        """Kill nodes, and pause them, one after the other."""
        end, n = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            node = self.nodes[n % len(self.nodes)]
            if n % 4 == 3:
                node.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(PAUSE_S)
                node.process.send_signal(signal.SIGCONT)
            else:
                await asyncio.to_thread(node.kill)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(node.start)
            n += 1
            await asyncio.sleep(FAULTS_S)

    def lines(self, kind: str) -> list[list[str]]:
        return [words[1:] for line in self.notes.read_text().splitlines() if (words := line.split())[0] == kind]


@pytest.fixture
def house(tmp_path: Path, store: str) -> Iterator[House]:
    notes = tmp_path / "notes"
    notes.touch()
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(Server(command=COMMAND, store=store, environment={"NOTES": str(notes)}))
            for _ in range(3)
        ]
        yield House(nodes, notes)


async def live_through(house: House, seconds: float) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as http:
        clients = [asyncio.ensure_future(house.publish_for_ever(http, n)) for n in range(4)]
        clients += [asyncio.ensure_future(house.call_for_ever(http, 100 + n)) for n in range(4)]
        await house.fail_for(seconds)
        house.is_over = True
        await asyncio.gather(*clients)
        heads = {room: max(offsets) for room, offsets in house.stored.items()}

        async def is_done() -> bool:
            acked: dict[str, int] = defaultdict(int)
            for room, offset, _ in house.lines("acked"):
                acked[room] = max(acked[room], int(offset))
            return all(acked[room] >= head for room, head in heads.items())

        await eventually(is_done, 60)
        await check(house, http, heads)


async def check(house: House, http: aiohttp.ClientSession, heads: dict[str, int]) -> None:
    assert sum(heads.values()) > 100
    # No client's message went around the application.
    for room, head in heads.items():
        since, messages = "start", list[Any]()
        url = f"{house.nodes[0].url}/rooms/{room}"
        while len(messages) < head:
            async with http.get(url, params={"since": since, "limit": "1000"}) as response:
                page = await response.json()
            messages += page["messages"]
            since = page["next"]
        assert all(message["data"]["seen"] for message in messages)
        for offset, message_id in house.stored[room].items():
            assert messages[offset - 1]["id"] == message_id
    # The consumer had each message, none before those in front of it, and no older tenure's acknowledgement counted.
    handled: dict[str, int] = defaultdict(int)
    for room, text, _ in house.lines("took"):
        assert int(text) <= handled[room] + 1, (room, text, handled[room])
        handled[room] = max(handled[room], int(text))
    assert {room: handled[room] for room in heads} == heads
    acked: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for room, text, fence in house.lines("acked"):
        before, before_fence = acked[room]
        assert int(text) > before, (room, text, before)
        assert int(fence) >= before_fence, (room, fence, before_fence)
        acked[room] = int(text), int(fence)
    assert max(len({fence for room, _, fence in house.lines("acked") if room == name}) for name in heads) > 1
    # No call ran twice, and what was answered did run.
    ran = Counter(call_id for (call_id,) in house.lines("ran"))
    assert max(ran.values()) == 1, ran.most_common(3)
    assert len(house.answers) > 20
    for call_id, answer in house.answers.items():
        assert answer in (f"done {call_id}", "outcome_unknown")
        assert answer == "outcome_unknown" or ran[call_id] == 1


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/log.db?shared=1"


@pytest.mark.timeout(180)
async def test_handlers_and_consumers_lose_and_repeat_nothing(house: House) -> None:
    """For a short time, on SQLite; for longer, and on Redis, in tests/interop."""
    await live_through(house, 8)
