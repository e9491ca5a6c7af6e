"""A hub that is used from other threads, loops and processes than the one it runs on."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.support import WAIT_S
from trunkline import Hub, RequestError, StoreUnavailable, WrongLoop
from trunkline.engine.background import BackgroundLoop

CALLS: dict[str, Callable[[Hub], Awaitable[Any]]] = {
    "start": lambda hub: hub.start(),
    "publish": lambda hub: hub.publish("r", 1),
    "page": lambda hub: hub.page("r"),
    "read": lambda hub: anext(aiter(hub.read("r", since="start"))),
    "signal": lambda hub: hub.signal("r", "typing"),
    "mark": lambda hub: hub.mark("r", "ana", 1),
    "unread": lambda hub: hub.unread("ana", ["r"]),
    "recheck": lambda hub: hub.recheck("ana"),
    "disconnect": lambda hub: hub.disconnect("ana"),
    "revoke": lambda hub: hub.revoke(user="ana"),
    "drain": lambda hub: hub.drain(),
    "close": lambda hub: hub.close(),
}


@pytest.mark.parametrize("name", CALLS)
async def test_on_another_loop_it_raises_at_once(name: str) -> None:
    """Nothing there would ever wake the caller; and the hub goes on, and still ends."""

    async def call() -> None:
        await CALLS[name](hub)

    def elsewhere() -> None:
        with pytest.raises(WrongLoop, match="publish_sync"):
            asyncio.run(call())

    async with Hub("memory:") as hub:
        await asyncio.wait_for(asyncio.to_thread(elsewhere), WAIT_S)
        assert (await hub.publish("r", 1)).offset == 1


def test_a_second_asyncio_run_raises_at_once() -> None:
    """A script that calls `asyncio.run` for each message is told what to do."""
    hub = Hub("memory:")

    async def publish() -> int:
        return (await hub.publish("r", 1)).offset

    assert asyncio.run(publish()) == 1
    with pytest.raises(WrongLoop, match=r"has ended, and the hub with it: do everything in one asyncio\.run"):
        asyncio.run(publish())


async def test_publish_sync_from_another_thread() -> None:
    """It returns the receipt, and raises what `publish` raises."""
    async with Hub("memory:") as hub:
        receipt = await asyncio.to_thread(hub.publish_sync, "r", {"n": 1}, id="k", sender="ana")
        assert (receipt.offset, receipt.duplicate) == (1, False)
        assert (await asyncio.to_thread(hub.publish_sync, "r", {"n": 1}, id="k", sender="ana")).duplicate
        with pytest.raises(RequestError, match="room name"):
            await asyncio.to_thread(hub.publish_sync, "no/room", 1)


async def test_publish_sync_on_the_hubs_own_thread() -> None:
    """It would wait for itself."""
    async with Hub("memory:") as hub:
        with pytest.raises(WrongLoop, match="await hub.publish"):
            hub.publish_sync("r", 1)
    with pytest.raises(WrongLoop, match="await hub.publish"):
        Hub("memory:").publish_sync("r", 1)


async def test_publish_sync_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Hub("memory:") as hub:

        async def never(_: object) -> list[Any]:
            await asyncio.Event().wait()
            raise StoreUnavailable("never")

        monkeypatch.setattr(hub._engine.store, "append", never)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(hub.publish_sync, "r", 1, timeout_s=0.05)


async def test_sync_endpoints_of_fastapi() -> None:
    """They run on threads, many at once."""
    async with Hub("memory:") as hub:
        app = FastAPI()

        @app.post("/orders/{order}")
        def shipped(order: int) -> int:
            return hub.publish_sync("orders", {"shipped": order}).offset

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answers = await asyncio.gather(*[client.post(f"/orders/{n}") for n in range(20)])
        assert sorted(answer.json() for answer in answers) == list(range(1, 21))


def run(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        check=False, capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_where_no_loop_runs_it_makes_one(tmp_path: Path) -> None:
    """A shell, or a script, publishes as often as it likes, ends by itself, and what it stored is there."""
    code = """
        import sys
        from trunkline import Hub
        hub = Hub(sys.argv[1])
        print([hub.publish_sync("r", n).offset for n in range(3)])
        print(hub.publish_sync("r", "again").offset)
    """
    assert run(code, f"sqlite:///{tmp_path}/log.db") == "[1, 2, 3]\n4\n"
    assert run(code, f"sqlite:///{tmp_path}/log.db") == "[5, 6, 7]\n8\n"


@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.003, 0.01])
def test_two_loops_that_start_a_hub_at_the_same_moment(tmp_path: Path, delay_s: float) -> None:
    """One of them has it, at once; the other is told, and whoever publishes is answered by that one."""
    code = """
        import asyncio, sys, threading, time
        from trunkline import Hub, WrongLoop
        hub = Hub(sys.argv[1])
        offsets = []

        async def main():
            thread = threading.Thread(target=lambda: offsets.append(hub.publish_sync("r", 1, timeout_s=5).offset))
            thread.start()
            await asyncio.sleep(float(sys.argv[2]))
            try:
                async with asyncio.timeout(5):
                    await hub.start()
                    await hub.publish("r", 2)
            except WrongLoop as error:
                assert "publish_sync has started this hub" in str(error)
            await asyncio.to_thread(thread.join)
            if hub._engine.is_running and hub._ownership._loop is asyncio.get_running_loop():
                await hub.close()

        asyncio.run(main())
        print(len(offsets))
    """
    assert run(code, f"sqlite:///{tmp_path}/log.db", str(delay_s)) == "1\n"


def test_processes_that_are_forked_before_the_hub_is_used(tmp_path: Path) -> None:
    """As a task queue does that imports the application first: each is a process of its own, with its own name."""
    code = """
        import os, sys
        from trunkline import Hub
        hub = Hub(sys.argv[1])
        children = []
        for n in range(4):
            pid = os.fork()
            if pid == 0:
                for _ in range(5):
                    hub.publish_sync("r", n)
                os._exit(0)
            children.append(pid)
        print([os.waitpid(pid, 0)[1] for pid in children], hub.publish_sync("r", 5).offset)
    """
    assert run(code, f"sqlite:///{tmp_path}/log.db?shared=1") == "[0, 0, 0, 0] 21\n"


def test_a_process_that_was_forked_is_told(tmp_path: Path) -> None:
    code = """
        import asyncio, os, sys, warnings
        from trunkline import Hub, WrongLoop
        warnings.simplefilter("ignore")
        hub = Hub(sys.argv[1])
        hub.publish_sync("r", 1)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(hub.publish("r", 2))
            except WrongLoop as error:
                print("forked" in str(error), flush=True)
            try:
                hub.publish_sync("r", 2)
            except WrongLoop as error:
                print("forked" in str(error), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print(hub.publish_sync("r", 3).offset)
    """
    assert run(code, f"sqlite:///{tmp_path}/log.db") == "True\nTrue\n2\n"


DJANGO = """
    import os, sys
    import django
    from django.conf import settings
    from django.core.management import execute_from_command_line
    from django.http import HttpResponse
    from django.urls import path
    from trunkline import Hub

    hub = Hub(sys.argv[1])

    def view(request):
        return HttpResponse(hub.publish_sync("r", "from a view").offset)

    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", INSTALLED_APPS=[])
    django.setup()
    urlpatterns = [path("", view)]
"""


def test_a_sync_view_of_django(tmp_path: Path) -> None:
    """Without any event loop, as under WSGI; and the same under ASGI, whose loop the hub runs on."""
    code = (
        DJANGO
        + """
    import asyncio
    from django.core.handlers.asgi import ASGIHandler
    from django.test import AsyncClient, Client

    print(Client().get("/").content.decode())

    async def main():
        global hub
        async with Hub("memory:") as hub:
            answers = await asyncio.gather(*[AsyncClient().get("/") for _ in range(3)])
            print(sorted(answer.content.decode() for answer in answers))

    asyncio.run(main())
    """
    )
    assert run(code, f"sqlite:///{tmp_path}/log.db") == "1\n['1', '2', '3']\n"


def test_the_shell_of_django(tmp_path: Path) -> None:
    code = (
        DJANGO
        + """
    command = "import __main__; print(__main__.hub.publish_sync('r', 1).offset)"
    execute_from_command_line(["manage.py", "shell", "--no-imports", "-c", command])
    """
    )
    assert run(code, f"sqlite:///{tmp_path}/log.db") == "1\n"


def test_a_background_loop_ends_with_what_runs_on_it() -> None:
    loop = BackgroundLoop()
    began, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def begin() -> None:
        asyncio.get_running_loop().tasks = [asyncio.ensure_future(wait())]  # type: ignore[attr-defined]

    loop.run(begin(), WAIT_S)
    assert began.wait(WAIT_S)
    loop.stop()
    assert ended.is_set()
    assert not any(thread.name == "trunkline-loop" for thread in threading.enumerate())
