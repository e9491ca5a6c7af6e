"""A real server behind a proxy, for tests with a browser."""

import asyncio
import textwrap
import threading
from pathlib import Path

import pytest

from tests.support import WAIT_S
from trunkline.client import publish
from trunkline.client.client import connect
from trunkline.testing.live_server import LiveServer


async def test_faults_reach_real_clients() -> None:
    """By event streams where there is no Upgrade, over restarts and kills, and nothing is lost."""
    with LiveServer() as server:
        async with asyncio.timeout(WAIT_S), connect(server.url, retry_max_ms=50) as client:
            room = client.room("r", since="start")

            async def hears(data: object) -> None:
                assert (await anext(room)).data == data

            await room.publish(1)
            await hears(1)
            assert client.transport == "websocket"
            with server.forget_upgrade():
                await asyncio.to_thread(publish, server.url, "r", 2)
                await hears(2)
            with server.cut():
                pass
            server.reset()
            for n, kill in ((3, False), (4, True)):
                await asyncio.to_thread(server.restart, kill=kill)
                await asyncio.to_thread(publish, server.url, "r", n)
                await hears(n)
            with server.delay(0.01), server.hang():
                pass
            with server.buffer():
                pass
            await room.publish(5)
            await hears(5)


def test_an_application(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        textwrap.dedent(
            """
            import os
            from trunkline import Hub

            hub = Hub(os.environ["STORE"])
            app = hub.app
            """
        )
    )
    store = f"sqlite:///{tmp_path}/log.db"
    with LiveServer("shop:app", environment={"STORE": store}, folder=tmp_path) as server:
        assert publish(server.url, "r", 1) == 1
        server.restart(kill=True)
        assert publish(server.url, "r", 2) == 2
        assert "Uvicorn running" in server.output


def test_a_server_that_does_not_start() -> None:
    with pytest.raises(RuntimeError, match=r"did not start:\n[^$]*nothing_like_it"), LiveServer("nothing_like_it:app"):
        pass
    with pytest.raises(RuntimeError, match="did not start"), LiveServer(arguments=["--no-such-flag"]):
        pass


def test_an_application_that_talks(tmp_path: Path) -> None:
    """Its address is told by uvicorn, and not by what it says itself."""
    (tmp_path / "shop.py").write_text(
        "print('cache is on http://127.0.0.1:6399')\nfrom trunkline import Hub\napp = Hub('memory:').app\n"
    )
    with LiveServer("shop:app", folder=tmp_path) as server:
        assert publish(server.url, "r", 1) == 1
        assert "cache is on" in server.output
    with pytest.raises(TypeError, match="name it, as module:attribute"):
        LiveServer(object())  # type: ignore[arg-type]


def test_several_threads_restart_it() -> None:
    with LiveServer() as server:
        threads = [threading.Thread(target=server.restart, kwargs={"kill": True}) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert publish(server.url, "r", 1) == 1
        assert server.is_running


def test_a_port_that_is_taken() -> None:
    with LiveServer() as server, pytest.raises(OSError, match="in use"), LiveServer(port=server.proxy.port):
        pass
