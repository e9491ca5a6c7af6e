"""What can be found out about a store: whether it answers, and whether its settings keep what is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trunkline.core.finding import Finding, ahead, clock_finding, ok
from trunkline.errors import TrunklineError, explain

if TYPE_CHECKING:
    from trunkline.stores.redis.client import RedisClient

CLOCK_MAX_S = 1.0
ANSWER_MAX_S = 0.01


def store_findings(url: str) -> Iterator[Finding]:
    """Iterate over findings about a store in Redis; there are none about another one, whose file is all there is."""
    if "://" in url and not url.startswith("sqlite:"):
        yield from asyncio.run(_redis(url))


async def _redis(url: str) -> list[Finding]:
    try:
        from trunkline.stores.redis.address import parse_address  # noqa: PLC0415 - an extra
        from trunkline.stores.redis.client import RedisClient  # noqa: PLC0415
    except ImportError:
        return [Finding("fault", "Redis", "its client is not installed", "pip install trunkline[redis]")]
    address = parse_address(url)
    if address.kind == "cluster":
        return [ok("Redis", "a cluster: ask each of its servers by redis://")]
    client = RedisClient(address)
    client.open()
    try:
        return await _examined(client)
    except (TrunklineError, OSError, TimeoutError) as error:
        return [
            Finding("fault", "Redis", f"{address} does not answer: {explain(error)}", "start it, or correct `store`")
        ]
    except Exception as error:  # noqa: BLE001 - errors of the driver, which is not always installed
        return [Finding("fault", "Redis", f"{address} does not answer: {error}", "start it, or correct `store`")]
    finally:
        await client.close()


async def _examined(client: RedisClient) -> list[Finding]:
    began = time.time()
    [(seconds, micros)] = await client.pipeline([["TIME"]])
    ended = time.time()
    ahead_s = ahead(int(seconds) + int(micros) / 1e6, began, ended)
    clock = clock_finding("Redis' clock", ahead_s, allowed_s=CLOCK_MAX_S, advice="let both be set by NTP")
    found = [_answers(ended - began), clock]
    server, memory, persistence, replication = await client.info("server", "memory", "persistence", "replication")
    found.append(ok("Redis", f"version {server.get('redis_version')}"))
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys") and int(memory.get("maxmemory", "0")):
        text = f"maxmemory-policy {policy}: it throws messages away when its memory is full"
        found.append(Finding("fault", "Redis' memory", text, "CONFIG SET maxmemory-policy noeviction"))
    else:
        found.append(ok("Redis' memory", f"maxmemory-policy {policy}"))
    if persistence.get("aof_enabled") != "1":
        text = "there is no append-only file: a restart loses what was acknowledged since the last dump"
        found.append(Finding("warning", "Redis' files", text, "CONFIG SET appendonly yes (docs/scaling.md)"))
    elif persistence.get("aof_last_write_status") == "err":
        found.append(Finding("fault", "Redis' files", "the append-only file cannot be written", "see its disk"))
    else:
        found.append(ok("Redis' files", "an append-only file"))
    replicas = replication.get("connected_slaves", "0")
    found.append(ok("Redis' replicas", replicas))
    return found


def _answers(took_s: float) -> Finding:
    if took_s > ANSWER_MAX_S:
        text = f"it answers after {took_s * 1000:.0f} ms: a publish takes at least that"
        return Finding("warning", "Redis' answers", text, "keep it near, and see SLOWLOG")
    return ok("Redis' answers", f"after {took_s * 1000:.1f} ms")
