"""Corrections over HTTP: who may, what bad requests get, and what is answered."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.access.support import ADMIN, EVERYWHERE, bearer, token
from tests.admin.support import guarded

ROOT = bearer(token("root", rooms=ADMIN))
ANA = bearer(token("ana", rooms=EVERYWHERE))
MOD = bearer(token("mod", rooms={"redact": ["chat:*"]}))
AUTHOR = bearer(token("ana", rooms={"write": ["*"], "redact:own": ["chat:*"]}))


async def ask(
    http: aiohttp.ClientSession, method: str, url: str, headers: dict[str, str], body: object = None
) -> tuple[int, dict[str, object]]:
    async with http.request(method, url, json=body, headers=headers) as response:
        text = await response.read()
        return response.status, (await response.json()) if text else {}


async def test_corrections_over_http(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    with guarded(tmp_path, "--backup-folder", str(folder)) as server:
        url = server.url
        for n in range(4):
            assert (await ask(http, "POST", f"{url}/rooms/chat:1", ANA, {"data": n}))[0] == 201
        redactions = f"{url}/rooms/chat:1/redactions"
        assert (await ask(http, "POST", redactions, ANA, {"offset": 1}))[0] == 403
        assert (await ask(http, "POST", redactions, {}, {"offset": 1}))[0] == 401
        status, done = await ask(http, "POST", redactions, AUTHOR, {"offset": 1})
        assert (status, done["redacted"], done["offset"]) == (200, [1], 5)
        assert (await ask(http, "POST", redactions, MOD, {"offsets": [1, 2]}))[1]["redacted"] == [2]
        assert (await ask(http, "POST", f"{url}/rooms/other/redactions", MOD, {"offset": 1}))[0] == 403
        wrongs: list[object] = [{}, {"offset": 0}, {"offset": "1"}, {"offsets": []}, [], {"offset": 1, "epoch": "none"}]
        for wrong in wrongs:
            status, answer = await ask(http, "POST", redactions, MOD, wrong)
            assert (status, "error" in answer) == (400, True), wrong
        status, page = await ask(http, "GET", f"{url}/admin/rooms?prefix=chat:&limit=1", ROOT)
        assert (status, len(page["rooms"]), page["next"]) == (200, 1, None)  # type: ignore[arg-type]
        for query in ("limit=0", "limit=x", "limit=99999999"):
            assert (await ask(http, "GET", f"{url}/admin/rooms?{query}", ROOT))[0] == 400
        status, job = await ask(http, "POST", f"{url}/admin/erasures", ROOT, {"user": "ana"})
        assert (status, job["user"]) == (202, "ana")
        assert (await ask(http, "GET", f"{url}/admin/erasures/{job['id']}", ROOT))[0] == 200
        assert (await ask(http, "GET", f"{url}/admin/erasures/nothing", ROOT))[0] == 404
        status, listed = await ask(http, "GET", f"{url}/admin/erasures", ROOT)
        assert [one["id"] for one in listed["erasures"]] == [job["id"]]  # type: ignore[attr-defined]
        status, made = await ask(http, "POST", f"{url}/admin/backups", ROOT, {"name": "one.db"})
        assert (status, (folder / "one.db").exists(), made["rooms"]) == (201, True, 2)
        assert (await ask(http, "POST", f"{url}/admin/backups", ROOT, {"name": "../one.db"}))[0] == 400
        status, found = await ask(http, "GET", f"{url}/admin/doctor", ROOT)
        assert (status, {"open files"} <= {one["what"] for one in found["findings"]}) == (200, True)  # type: ignore[attr-defined]
        assert (await ask(http, "POST", f"{url}/admin/epochs", ROOT, {}))[0] == 204
        status, deleted = await ask(http, "DELETE", f"{url}/admin/rooms/chat:1", ROOT)
        assert (status, deleted["messages"] >= 6) == (200, True)  # type: ignore[operator]


ADMIN_ONLY = [
    ("GET", "/admin/rooms"),
    ("DELETE", "/admin/rooms/a"),
    ("POST", "/admin/erasures"),
    ("GET", "/admin/erasures"),
    ("GET", "/admin/erasures/1"),
    ("POST", "/admin/backups"),
    ("POST", "/admin/epochs"),
    ("GET", "/admin/doctor"),
    ("POST", "/admin/codes"),
    ("GET", "/rooms/$audit"),
]


@pytest.mark.parametrize(("method", "path"), ADMIN_ONLY)
async def test_administrators_alone_may(tmp_path: Path, http: aiohttp.ClientSession, method: str, path: str) -> None:
    """Not a moderator, not a user, not one without a token, and nobody where there is no authentication."""
    with guarded(tmp_path) as server:
        for headers, status in ((MOD, 403), (ANA, 403), ({}, 401)):
            body = {"user": "ana"} if method == "POST" else None
            assert (await ask(http, method, server.url + path, headers, body))[0] == status
