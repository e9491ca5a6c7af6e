"""Backups, restoration and copies from the command line, with a server that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import aiohttp

from tests.redis_servers import RedisServer, needs_redis
from tests.support import WAIT_S, Server, publish, publish_many


def trunkline(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trunkline", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


async def page(http: aiohttp.ClientSession, url: str, since: str = "start") -> dict[str, object]:
    async with http.get(f"{url}/rooms/r?since={since}") as response:
        found: dict[str, object] = await response.json()
        return found


async def test_a_server_is_backed_up_while_it_runs_and_put_back(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Readers that have read further are told with a gap; a server that runs is not overwritten."""
    store, backup = f"sqlite:///{tmp_path}/log.db", tmp_path / "backup.db"
    with Server(store=store) as server:
        await publish_many(http, server.url, "r", [1, 2, 3])
        made = trunkline("backup", str(backup), "--store", store)
        assert made.returncode == 0, made.stderr
        assert made.stdout.startswith(f"{backup}: 1 rooms, 3 messages, ")
        last = await publish(http, server.url, "r", 4)
        refused = trunkline("restore", str(backup), "--store", store)
        assert refused.returncode == 2
        assert "in use by a server" in refused.stderr
        server.stop()
        restored = trunkline("restore", str(backup), "--store", store)
        assert restored.returncode == 0, restored.stderr
        assert "1 rooms, 3 messages" in restored.stdout
        assert "-before-restore" in restored.stderr
        server.start()
        found = await page(http, server.url, f"{last['epoch']}.4")
        assert found["head"] == 3
        assert found["gap"] is not None
    again = trunkline("backup", str(backup), "--store", store)
    assert (again.returncode, "overwrites nothing" in again.stderr) == (2, True)
    nothing = trunkline("backup", str(tmp_path / "x.db"), "--store", f"sqlite:///{tmp_path}/none.db")
    assert (nothing.returncode, "there is no log" in nothing.stderr) == (2, True)


@needs_redis
async def test_a_log_moves_to_redis_and_back(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Clients go on where they were; the hashes of both are the same."""
    store = f"sqlite:///{tmp_path}/log.db"
    with RedisServer(tmp_path) as redis:
        with Server(store=store) as server:
            receipts = await publish_many(http, server.url, "r", [1, 2, 3])
            server.stop()
        copied = trunkline("copy", store, redis.url)
        assert copied.returncode == 0, copied.stderr
        assert "1 rooms, 3 messages and 0 read marks, the same in both" in copied.stdout
        refused = trunkline("copy", store, redis.url)
        assert (refused.returncode, "has rooms already" in refused.stderr) == (2, True)
        with Server(store=redis.url) as server:
            found = await page(http, server.url, f"{receipts[0]['epoch']}.1")
            assert (found["gap"], [one["data"] for one in found["messages"]]) == (None, [2, 3])  # type: ignore[attr-defined]
            backup = trunkline("backup", str(tmp_path / "redis.db"), "--store", redis.url)
            assert backup.returncode == 0, backup.stderr
        redis.client.flushall()
        restored = trunkline("restore", str(tmp_path / "redis.db"), "--store", redis.url)
        assert restored.returncode == 0, restored.stderr
        with Server(store=redis.url) as server:
            assert [one["data"] for one in (await page(http, server.url))["messages"]] == [1, 2, 3]  # type: ignore[attr-defined]
