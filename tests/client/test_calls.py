"""Calls by both clients, over every transport: to an application that refuses, fails, is slow, and dies."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from tests.client.effects import Effects
from tests.client.support import ALL, Meddler
from tests.support import ROOT, WAIT_S, Server, eventually, free_port
from trunkline.client import ClientError, connect
from trunkline.client.calls import CALLS_MAX, Calls

Call = Callable[..., Any]
"""Makes a call: `await call(name, data, timeout_s=10, id=None)`."""
Caller = Callable[[str, str], AbstractAsyncContextManager[Call]]


@asynccontextmanager
async def by_python(url: str, transport: str) -> AsyncIterator[Call]:
    async with connect(url, transports=[transport], poll_ms=50) as client:
        yield client.call


@asynccontextmanager
async def by_javascript(url: str, transport: str) -> AsyncIterator[Call]:
    process = await asyncio.create_subprocess_exec(
        "node", str(ROOT / "client/test/caller.mjs"), url, transport, stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout
    answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
    numbers = itertools.count()

    async def read() -> None:
        async for line in stdout:
            answer = json.loads(line)
            answers[answer["n"]].set_result(answer)

    async def call(name: str, data: Any = None, *, timeout_s: float = 10.0, id: str | None = None) -> Any:  # noqa: A002
        n = next(numbers)
        answers[n] = asyncio.get_running_loop().create_future()
        options = {"timeoutMs": timeout_s * 1000} | ({} if id is None else {"id": id})
        said = {"n": n, "name": name, "options": options} | ({} if data is None else {"data": data})
        stdin.write(json.dumps(said).encode() + b"\n")
        answer = await answers[n]
        if "code" in answer:
            raise ClientError(answer["code"], answer["message"])
        return answer["result"]

    reader = asyncio.ensure_future(read())
    try:
        yield call
    finally:
        stdin.close()
        await asyncio.wait_for(process.wait(), WAIT_S)
        await reader


@pytest.fixture(params=[by_javascript, by_python], ids=["javascript", "python"])
def caller(request: pytest.FixtureRequest) -> Caller:
    caller: Caller = request.param
    return caller


@pytest.fixture(params=ALL.split(","))
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """What the application has carried out."""
    return tmp_path / "notes.txt"


@pytest.fixture
def server(tmp_path: Path, notes: Path) -> Iterator[Server]:
    uvicorn = [sys.executable, "-m", "uvicorn", "--port", "PORT", "--log-level", "error"]
    command = [*uvicorn, "tests.client.calling_app:app"]
    store = f"sqlite:///{tmp_path}/log.db"
    with Server(command=command, store=store, environment={"NOTES": str(notes)}) as running:
        yield running


async def code_of(made: Any) -> tuple[str, str]:
    """The code and the message of a call that is rejected."""
    with pytest.raises(ClientError) as refused:
        await made
    return refused.value.code, str(refused.value)


async def test_results_and_refusals(server: Server, caller: Caller, transport: str) -> None:
    """Many at the same time, each with its own result; what is refused is refused at once, with its own code."""
    async with asyncio.timeout(WAIT_S), caller(server.url, transport) as call:
        assert await asyncio.gather(*[call("add", [n, n]) for n in range(30)]) == [2 * n for n in range(30)]
        assert await call("nothing") is None
        assert await code_of(call("enter", "the cellar")) == ("full", "the cellar is full")
        assert (await code_of(call("fail")))[0] == "internal"
        assert (await code_of(call("add", "text")))[0] == "bad_arguments"
        assert (await code_of(call("subtract", [1])))[0] == "unknown_call"
        assert (await code_of(call("add", "x" * 70_000)))[0] == "too_large"
        assert await call("add", [3]) == 3


async def test_an_answer_that_is_lost(server: Server, caller: Caller, transport: str, notes: Path) -> None:
    """The connection breaks while the handler runs: it is not run again, and its result arrives."""
    async with (
        asyncio.timeout(WAIT_S),
        Meddler(server.port) as proxy,
        caller(proxy.url, transport) as call,
    ):
        assert await call("add", [1, 2]) == 3
        made = asyncio.ensure_future(call("slow", "once"))
        await eventually(notes.exists)
        proxy.reset()
        assert await made == "once"
        assert notes.read_text() == "once\n"


async def test_a_server_that_is_killed(server: Server, caller: Caller, transport: str) -> None:
    """What was being carried out then may have been or not; what is called meanwhile waits for the next server."""
    async with asyncio.timeout(WAIT_S), caller(server.url, transport) as call:
        assert await call("add", [1, 2]) == 3
        dying = asyncio.ensure_future(call("die", timeout_s=WAIT_S))
        await asyncio.to_thread(server.process.communicate)
        waiting = asyncio.ensure_future(call("add", [3, 4], timeout_s=WAIT_S))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        server.start()
        assert (await code_of(dying))[0] == "outcome_unknown"
        assert await waiting == 7


async def test_time_outs(server: Server, caller: Caller, transport: str) -> None:
    """Told with whether the call was sent; a repeat has the result of the first one."""
    async with asyncio.timeout(WAIT_S), caller(server.url, transport) as call:
        assert await call("add", [1, 2]) == 3
        late = await code_of(call("slow", "late", timeout_s=0.2, id="one"))
        assert late == ("timeout", "no result within 0.2 s: it may have been carried out")
        assert await call("slow", "something else", id="one") == "late"
    async with asyncio.timeout(WAIT_S), caller(f"http://127.0.0.1:{free_port()}", transport) as call:
        late = await code_of(call("slow", "late", timeout_s=0.2))
        assert late == ("timeout", "no result within 0.2 s: it was not carried out")


async def test_what_no_server_takes() -> None:
    async with connect(f"http://127.0.0.1:{free_port()}") as client:
        for bad in ("", "a/b", "..", "x" * 65):
            assert (await code_of(client.call(bad)))[0] == "bad_command"
        assert (await code_of(client.call("add", id="é")))[0] == "bad_id"
        with pytest.raises(ValueError, match="JSON"):
            await client.call("add", float("nan"))


async def test_one_id_is_one_call(server: Server, notes: Path) -> None:
    """Whoever makes it again while it waits is answered, too; another handler cannot have it."""
    async with asyncio.timeout(WAIT_S), connect(server.url) as client:
        made = [asyncio.ensure_future(client.call("slow", "once", id="one")) for _ in range(2)]
        await eventually(notes.exists)
        assert (await code_of(client.call("add", [1], id="one")))[0] == "bad_id"
        assert await asyncio.gather(*made) == ["once", "once"]
        assert notes.read_text() == "once\n"


async def test_a_caller_that_does_not_wait_any_more(server: Server) -> None:
    """The call makes room for others, and nothing stays behind."""
    async with asyncio.timeout(WAIT_S), connect(server.url) as client:
        assert await client.call("add", [1]) == 1
        for n in range(8):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.call("slow", str(n)), 0.01)
        assert await client.call("add", [2], timeout_s=0.4) == 2
        assert client._results == {}


async def test_a_client_that_is_closed(server: Server) -> None:
    client = connect(server.url)
    assert (await code_of(client.call("add", [1])))[0] == "closed"
    async with client:
        waiting = asyncio.ensure_future(client.call("slow", "x"))
        await eventually(lambda: client.state == "online")
        await asyncio.sleep(0)
    assert (await code_of(waiting))[0] == "closed"
    assert (await code_of(client.call("add", [1])))[0] == "closed"


def test_a_thousand_calls_wait() -> None:
    effects = Effects()
    calls = Calls(lambda: 0.5, effects)
    for n in range(CALLS_MAX + 1):
        calls.add({"id": str(n), "name": "add", "data": n, "timeoutMs": 1000}, 0.0, closed=False)
    [rejected] = effects.of("rejected")
    assert (rejected["error"]["id"], rejected["error"]["code"]) == (str(CALLS_MAX), "outbox_full")
    calls.timer(1000.0)
    assert calls.waiting == {}
