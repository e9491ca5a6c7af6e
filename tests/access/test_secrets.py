"""No token, ticket or secret in anything that we write: output, errors, counters, answers (R25)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import aiohttp

from tests.access.conftest import ours
from tests.access.support import ADMIN, COOKIE, SECRET, bearer, closed, knock, token
from tests.support import TRANSPORTS
from trunkline import Credentials, Grant, Issuer
from trunkline.config import Config
from trunkline.core.session import Authenticate, Command
from trunkline.wire.request_head import RequestHead


async def test_nothing_is_written_down(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    secrets, answers = {SECRET}, []
    with ours(f"sqlite:///{tmp_path}/log.db", tmp_path) as server:
        room = f"{server.url}/rooms/a"
        for text in (
            token(),
            token(key="y" * 40),
            token(lifetime_s=-1),
            token(rooms={}),
            "nonsense-" * 9,
            token(sub=3),
        ):
            secrets.add(text)
            for transport in TRANSPORTS:
                for place in (
                    {"headers": bearer(text)},
                    {"params": {"token": text}},
                    {"params": {"ticket": text}},
                    {"headers": {"Cookie": f"{COOKIE}={text}"}},
                    {"protocols": (f"trunkline.token.{text}",)},
                    {"say": {"type": "auth", "token": text}},
                    {"headers": bearer(text) | {"Host": text[:200]}},
                    {"headers": bearer(text) | {"Origin": f"https://{text[:20]}"}},
                ):
                    if transport == "websocket" or not {"protocols", "say"} & set(place):
                        await knock(http, transport, room, **place)
            for path in ("tickets", "sessions/x/auth", "disconnect", "revoke", "publish", "rooms/a", "nothing"):
                async with http.post(f"{server.url}/{path}?token={text}", data=b"{") as response:
                    answers.append(await response.text())
            async with http.get(f"{room}?token={text}&since=bad&token={text}") as response:
                answers.append(await response.text())
            async with http.ws_connect(f"{server.url}/connect", headers=bearer(text)) as socket:
                await socket.send_str('{"type":"auth","token":"' + text)
                await socket.send_json({"type": "auth", "token": text, "room": 3})
                await socket.send_json({"type": "auth", "token": text})
                await socket.send_bytes(text.encode())
                answers.append(json.dumps((await closed(socket))[0]))
        async with http.post(f"{server.url}/tickets", headers=bearer(token())) as response:
            secrets.add((await response.json())["ticket"])
        async with http.get(f"{server.url}/healthz", headers=bearer(token(rooms=ADMIN))) as response:
            answers.append(await response.text())
        _, out, errors = server.stop()
    text = "\n".join([out, errors, *answers])
    for secret in secrets:
        assert secret not in text
        for part in secret.split("."):
            assert len(part) < 12 or part not in text
    assert not re.search(r"eyJ[A-Za-z0-9_-]{10}", text)


def test_nothing_shows_itself() -> None:
    """What ends up in a traceback or a debugger's log does not tell either."""
    head = RequestHead("/", [("token", SECRET)], {b"authorization": SECRET.encode()})
    shown = [
        repr(Issuer(secret=SECRET)),
        repr(Config(auth="jwt", jwt=Issuer(secret=SECRET))),
        repr(Credentials(SECRET, SECRET, head, "a")),
        repr(Authenticate(SECRET)),
        repr(Command("auth", token=SECRET)),
        repr(Grant(user="ana")),
    ]
    assert SECRET not in "".join(shown)
