"""The command line of an administrator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.access.support import ADMIN, EVERYWHERE, bearer, token
from tests.admin.support import guarded
from tests.support import WAIT_S


def trunkline(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    if text is not None:
        environment["TRUNKLINE_TOKEN"] = text
    command = [sys.executable, "-m", "trunkline", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False, env=environment)


async def test_an_operator_looks_kicks_and_revokes(tmp_path: Path) -> None:
    ops, ana = token("ops", rooms=ADMIN), token("ana", rooms=EVERYWHERE)
    with guarded(tmp_path) as server:
        url = ["--url", server.url]
        async with aiohttp.ClientSession() as http:
            sockets = []
            for room in ("a", "b"):
                sockets.append(await http.ws_connect(f"{server.url}/connect?room={room}", headers=bearer(ana)))
                session = (await sockets[-1].receive_json())["session"]
            await sockets[0].send_json({"type": "message", "room": "a", "data": {"n": 1}})
            while (await sockets[0].receive_json())["type"] != "message":
                pass
            shown = trunkline("show", "a", *url, text=ops)
            assert shown.returncode == 0, shown.stderr
            head, reader, message = shown.stdout.splitlines()
            assert head.startswith("a: ")
            assert ".1, 0 members" in head
            assert "  ana  127.0.0.1  websocket  " in reader
            assert json.loads(message)["data"] == {"n": 1}
            assert json.loads(trunkline("show", "a", "--json", *url, text=ops).stdout)["head"] == 1
            assert len(trunkline("connections", *url, text=ops).stdout.splitlines()) == 2
            assert len(trunkline("connections", "--room", "b", *url, text=ops).stdout.splitlines()) == 1
            [found] = trunkline("connections", "--session", session, *url, text=ops).stdout.splitlines()
            assert found.startswith(f"{session}  ana  ")
            assert trunkline("kick", "ana", *url, text=ops).stdout == "2 connections ended\n"
            for socket in sockets:
                async for _ in socket:
                    pass
                assert socket.close_code == 4200
            assert trunkline("revoke", "ana", *url, text=ops).stdout == "0 connections ended\n"
            async with http.get(f"{server.url}/rooms/a", headers=bearer(ana)) as response:
                assert response.status == 401


@pytest.mark.parametrize(
    ("arguments", "text", "code", "said"),
    [
        (["show", "a"], None, 2, "this server requires authentication"),
        (["connections"], "nonsense", 2, "not a JWT"),
        (["kick", "ana"], token("ana", rooms=EVERYWHERE), 2, "that takes the token of an administrator"),
        (["revoke"], token("ops", rooms=ADMIN), 2, "name the user, or a token by --token-id"),
        (["show", "no room!"], token("ops", rooms=ADMIN), 2, "a room name is"),
    ],
)
def test_what_is_refused_is_one_line(
    tmp_path: Path, arguments: list[str], text: str | None, code: int, said: str
) -> None:
    with guarded(tmp_path) as server:
        ended = trunkline(*arguments, "--url", server.url, text=text)
    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_server_that_is_not_there_is_said() -> None:
    assert trunkline("connections", "--url", "http://127.0.0.1:9").returncode == 1
    assert trunkline("connections", "--url", "ftp://127.0.0.1").returncode == 2
