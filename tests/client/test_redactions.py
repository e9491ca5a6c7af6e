"""Redactions, as both clients tell of them and as they keep what they have."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import aiohttp
import pytest

from tests.access.support import ADMIN, EVERYWHERE, bearer, token
from tests.admin.support import guarded
from tests.support import ROOT, TRANSPORTS, WAIT_S, eventually
from trunkline.client import connect
from trunkline.client.client import Message

MODERATOR = bearer(token("mod", rooms=ADMIN))


async def redact(http: aiohttp.ClientSession, url: str, offset: int) -> None:
    async with http.post(f"{url}/rooms/r/redactions", json={"offset": offset}, headers=MODERATOR) as response:
        assert response.status == 200


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_python_client(tmp_path: Path, http: aiohttp.ClientSession, transport: str) -> None:
    """Who listens is told; what a loop has not taken yet is given to it without its data."""
    with guarded(tmp_path) as server:
        client = connect(server.url, get_token=lambda: token("ana", rooms=EVERYWHERE), transports=[transport])
        async with client, asyncio.timeout(WAIT_S):
            told: list[object] = []
            listening, looping = client.room("r", last=10), client.room("s", last=10)
            listening.on("redacted", lambda event: told.append((event["offset"], event["redacts"], sorted(event))))
            listening.on("message", lambda message: told.append(message.data))
            await listening.publish("secret")
            await looping.publish("secret")
            await looping.publish("2")
            await eventually(lambda: told == ["secret"])
            await redact(http, server.url, 1)
            await eventually(lambda: len(told) >= 2)
            assert told[1] == (2, [1], ["at", "offset", "redacts", "room"])
            await eventually(lambda: len(looping._queue) >= 2)
            async with http.post(f"{server.url}/rooms/s/redactions", json={"offset": 1}, headers=MODERATOR) as response:
                assert response.status == 200
            await eventually(lambda: looping._queue[0].data is None)
            first: Message = await anext(looping)
            assert (first.data, first.redacted, first.offset, first.sender) == (None, True, 1, "ana")
            assert (await anext(looping)).data == "2"


SCRIPT = """
import { WebSocket } from "ws";
import { connect } from "./src/trunkline.js";
const [url, token, transport] = process.argv.slice(2);
const client = connect(url, { getToken: () => token, transports: [transport], WebSocket });
const room = client.room("r", { last: 10, keep: 10 });
room.on("message", ({ data }) => console.log(JSON.stringify({ data })));
room.on("redacted", (event) => {
  console.log(JSON.stringify({ event, history: room.history }));
  client.close();
});
setTimeout(() => process.exit(1), 20000).unref();
"""


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_javascript_client(tmp_path: Path, http: aiohttp.ClientSession, transport: str) -> None:
    with guarded(tmp_path) as server:
        ana = token("ana", rooms=EVERYWHERE)
        async with http.post(f"{server.url}/rooms/r", json={"data": "secret"}, headers=bearer(ana)) as response:
            assert response.status == 201
        process = await asyncio.create_subprocess_exec(
            "node", "--input-type=module", "-", server.url, ana, transport,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT / "client",
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(SCRIPT.encode())
        process.stdin.close()
        async with asyncio.timeout(WAIT_S):
            assert json.loads(await process.stdout.readline()) == {"data": "secret"}
            await redact(http, server.url, 1)
            said = json.loads(await process.stdout.readline())
            assert await process.wait() == 0
        assert (said["event"]["offset"], said["event"]["redacts"], sorted(said["event"])) == (
            2, [1], ["at", "offset", "redacts", "room"],
        )  # fmt: skip
        [kept] = said["history"]
        assert (kept["data"], kept["redacted"], kept["from"], kept["offset"]) == (None, True, "ana", 1)
