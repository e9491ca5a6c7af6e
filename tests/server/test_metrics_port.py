"""`/metrics`: who may read it, on which port, and of how many workers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.access.support import SECRET, bearer, token
from tests.admin.support import OPERATOR, guarded
from tests.server.test_workers import workers_of
from tests.support import WAIT_S, Server
from trunkline.config import load
from trunkline.errors import ConfigError
from trunkline.server.metrics_port import check_metrics_host
from trunkline.server.server import RoomsServer, build_hub

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


def metrics_url(server: Server) -> str:
    found = re.search(r"metrics on (\S+)", server.line())
    assert found is not None
    return found[1]


async def scraped(http: aiohttp.ClientSession, url: str, **headers: str) -> dict[tuple[str, str], float]:
    """The sums of all series of a name, by the name and the worker."""
    async with http.get(url, headers=OPENMETRICS | headers) as response:
        assert response.status == 200
        assert response.content_type == "application/openmetrics-text"
        found: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families(await response.text()):  # type: ignore[no-untyped-call]
            for sample in family.samples:
                key = (sample.name, sample.labels.get("worker", ""))
                found[key] = found.get(key, 0.0) + sample.value
        return found


async def test_administrators_alone_scrape_the_port_that_everybody_can_reach(tmp_path: Path) -> None:
    with guarded(tmp_path) as server:
        async with aiohttp.ClientSession() as http:
            for headers, status in (({}, 401), (bearer(token("ana")), 403), (OPERATOR, 200)):
                async with http.get(f"{server.url}/metrics", headers=headers) as response:
                    assert response.status == status
            assert ("trunkline_published_total", "") in await scraped(http, f"{server.url}/metrics", **OPERATOR)


async def test_without_authentication_nobody_is_an_administrator() -> None:
    with Server() as server:
        async with aiohttp.ClientSession() as http:
            for path in ("metrics", "admin/overview", "admin/rooms/a", "admin/connections", "rooms/$overview"):
                async with http.get(f"{server.url}/{path}") as response:
                    assert response.status == 403, path
            for path, body in (
                ("disconnect", {"user": "a"}),
                ("revoke", {"user": "a"}),
                ("admin/follow", {"session": "s"}),
            ):
                async with http.post(f"{server.url}/{path}", json=body) as response:
                    assert response.status == 403, path
            async with http.get(f"{server.url}/healthz") as response:
                assert await response.json() == {"status": "ok"}


async def test_a_port_of_its_own_on_loopback_asks_for_no_token_and_knows_its_name() -> None:
    with Server("--metrics-port", "0") as server:
        url = metrics_url(server)
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{server.url}/rooms/a", json={"data": 1}) as response:
                assert response.status == 201
            assert (await scraped(http, url))[("trunkline_published_total", "")] == 1
            async with http.get(url, headers={"Host": "evil.example"}) as response:
                assert response.status == 400
            async with http.get(url.replace("/metrics", "/rooms/a")) as response:
                assert response.status == 404
        assert server.stop()[0] == 0


@pytest.mark.parametrize("way", ["the port of its own", "the rooms' port"])
async def test_a_scrape_of_any_worker_gives_all_of_them(tmp_path: Path, way: str) -> None:
    with guarded(tmp_path, "--workers", "3", "--metrics-port", "0") as server:
        own = metrics_url(server)  # all of them serve
        url = own if way == "the port of its own" else f"{server.url}/metrics"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            for n in range(20):
                async with http.post(f"{server.url}/rooms/a", json={"data": n}, headers=OPERATOR) as response:
                    assert response.status == 201
            for _ in range(5):  # whoever answers
                async with asyncio.timeout(WAIT_S):
                    while True:
                        found = await scraped(http, url, **OPERATOR)
                        published = {
                            worker: n for (name, worker), n in found.items() if name == "trunkline_published_total"
                        }
                        if sum(published.values()) == 20:
                            break
                assert len(published) == 3
            assert found[("trunkline_worker_ends_total", "parent")] == 0
            os.kill(workers_of(server)[0], signal.SIGKILL)
            async with asyncio.timeout(WAIT_S):
                while True:  # its series end with it, and those of its successor begin
                    found = await scraped(http, url, **OPERATOR)
                    workers = {worker for name, worker in found if name == "trunkline_published_total"}
                    if len(workers) == 3 and workers != set(published):
                        break
            assert found[("trunkline_worker_ends_total", "parent")] == 1


async def test_a_worker_that_hangs_is_told_by_the_others(tmp_path: Path) -> None:
    with guarded(tmp_path, "--workers", "2", "--metrics-port", "0") as server:
        url, stuck = metrics_url(server), workers_of(server)[0]
        os.kill(stuck, signal.SIGSTOP)
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    try:
                        timeout = aiohttp.ClientTimeout(total=1)
                        async with aiohttp.ClientSession(timeout=timeout) as http:
                            found = await scraped(http, url)
                    except TimeoutError:
                        continue  # it was the one that hangs
                    silent = [n for (name, _), n in found.items() if name == "trunkline_worker_silent_seconds"]
                    if max(silent) > 2:
                        break
        finally:
            os.kill(stuck, signal.SIGCONT)


async def test_an_application_with_two_hubs_tells_them_apart(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        "from starlette.applications import Starlette\n"
        "from starlette.routing import Mount\n"
        "from contextlib import asynccontextmanager\n"
        "from trunkline import Hub\n"
        "one, two = Hub('memory:'), Hub('memory:')\n"
        "@asynccontextmanager\n"
        "async def lifespan(app):\n"
        "    async with one.lifespan(), two.lifespan():\n"
        "        await one.publish('a', 1)\n"
        "        yield\n"
        "app = Starlette(routes=[Mount('/one', one.app), Mount('/two', two.app)], lifespan=lifespan)\n"
    )
    command = [sys.executable, "-m", "trunkline", "run", "two:app", "--port", "PORT", "--metrics-port", "0"]
    with Server(command=command, folder=tmp_path) as server:
        url = metrics_url(server)
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            text = await response.text()
    assert 'trunkline_published_total{rooms="/one"} 1.0' in text
    assert 'trunkline_published_total{rooms="/two"} 0.0' in text


def test_beyond_loopback_metrics_need_authentication(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="metrics_host 0.0.0.0"):
        check_metrics_host("0.0.0.0", is_authenticated=False)
    check_metrics_host("0.0.0.0", is_authenticated=True)
    check_metrics_host("127.0.0.1", is_authenticated=False)
    config = load(None, {}, {"store": "memory:", "port": 0, "metrics_port": 0, "metrics_host": "0.0.0.0"})
    with pytest.raises(ConfigError, match="metrics_host"):
        RoomsServer(config, build_hub(config), lambda *_: None)


async def test_beyond_loopback_an_administrator_is_asked_for(tmp_path: Path) -> None:
    """By any address that is not this machine's own: 0.0.0.0 is all of them."""
    with guarded(tmp_path, "--metrics-port", "0", "--metrics-host", "0.0.0.0") as server:
        url = metrics_url(server).replace("0.0.0.0", "127.0.0.1")
        async with aiohttp.ClientSession() as http:
            async with http.get(url) as response:
                assert response.status == 401
                assert SECRET not in await response.text()
            assert await scraped(http, url, **OPERATOR)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with Server("--metrics-port", "0") as server:
        taken = metrics_url(server).rpartition(":")[2].partition("/")[0]
        with pytest.raises(AssertionError, match="cannot listen on 127.0.0.1"):
            Server("--metrics-port", taken)
