"""A newer token that does not count yet: the connection stays, and the token is brought again."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator

import jwt
import pytest

from tests.access.support import SECRET
from tests.support import ROOT, WAIT_S, Server, eventually
from trunkline.client import connect

STREAMS = ["websocket", "sse"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("--auth", "jwt", environment={"TRUNKLINE_JWT__SECRET": SECRET}) as running:
        yield running


def tokens() -> list[str]:
    """One that ends soon, one that counts in a second or two (clocks differ by up to ten), and one that counts."""
    now = int(time.time())
    claims = {"sub": "ada", "iat": now, "rooms": {"read": ["*"]}}
    given = [{"exp": now + 12}, {"exp": now + 60, "nbf": now + 18}, {"exp": now + 60}]
    return [jwt.encode(claims | one, SECRET, algorithm="HS256") for one in given]


@pytest.mark.parametrize("transport", STREAMS)
async def test_the_python_client(server: Server, transport: str) -> None:
    given = tokens()
    asked: list[str] = []
    states: list[str] = []

    def get_token() -> str:
        asked.append(given[min(len(asked), 2)])
        return asked[-1]

    async with connect(server.url, get_token=get_token, transports=[transport]) as client:
        client.room("r")
        client.on("state", lambda change: states.append(change["state"]))
        await eventually(lambda: client.state == "online")
        await eventually(lambda: len(asked) == 3)
        assert states == ["connecting", "online"]


@pytest.mark.parametrize("transport", STREAMS)
def test_the_javascript_client(server: Server, transport: str) -> None:
    code = """
        import { connect } from "./src/trunkline.js";
        import WebSocket from "ws";
        const given = JSON.parse(process.env.TOKENS);
        const states = [];
        let asked = 0;
        const getToken = () => given[Math.min(asked++, 2)];
        const client = connect(process.env.URL, { WebSocket, transports: [process.env.TRANSPORT], getToken });
        client.room("r");
        client.on("state", ({ state }) => states.push(state));
        while (asked < 3) await new Promise((done) => setTimeout(done, 50));
        console.log(JSON.stringify(states));
        client.close();
    """
    ended = subprocess.run(
        ["node", "--input-type=module", "-"],
        input=code,
        cwd=ROOT / "client",
        env=os.environ | {"URL": server.url, "TOKENS": json.dumps(tokens()), "TRANSPORT": transport},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ('["connecting","online"]\n', "")
