"""`trunkline serve`, `publish` and `tail`, as processes."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from itertools import count
from pathlib import Path

import aiohttp
import pytest

from tests.support import WAIT_S, Follower, Server, free_port, parked, publish, publish_surely, stream
from trunkline.server.interpreter import UNOPTIMISED, is_optimised


def trunkline(*arguments: str, timeout: float = WAIT_S, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trunkline", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd)


def test_one_line_says_where(tmp_path: Path) -> None:
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        urllib.request.urlopen(f"{server.url}/livez", timeout=WAIT_S).close()
        code, out, errors = server.stop()
    said = f"Trunkline on {server.url}, data in {tmp_path}/log.db; {server.metrics_said}\n"
    assert (code, out, errors) == (0, said if is_optimised() else f"{said}{UNOPTIMISED}\n", "")


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_stopping_with_a_full_house(sig: int, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """1,000 mixed clients and publishes under way: under 5 s, code 0, no traceback, 1012, acks finished (R40)."""
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        url = f"{server.url}/rooms/house"
        sockets = [await http.ws_connect(url) for _ in range(400)]
        streams = [await http.get(url, headers={"Accept": "text/event-stream"}) for _ in range(300)]
        async with http.get(f"{url}?since=now") as response:
            position = (await response.json())["next"]
        polls = [asyncio.ensure_future(http.get(f"{url}?since={position}&wait=60")) for _ in range(300)]
        probe = await http.ws_connect(f"{server.url}/connect")
        await parked(http, server, 300)
        for n in range(100):
            await probe.send_json({"type": "message", "room": "other", "id": str(n), "data": n})
        stopping = asyncio.ensure_future(asyncio.to_thread(server.stop, sig))
        began = asyncio.get_running_loop().time()

        async def last_words(socket: aiohttp.ClientWebSocketResponse) -> tuple[list[str], int | None]:
            kinds = [json.loads(frame.data)["type"] async for frame in socket]
            return kinds, socket.close_code

        endings = await asyncio.gather(*map(last_words, sockets))
        acks, code = await last_words(probe)
        pages = [await (await poll).json() for poll in polls]
        for response in streams:
            last = (await response.content.read()).rpartition(b"retry: ")[2]
            assert 0 < int(last) <= 1000  # they come back at different times
        exit_code, out, errors = await stopping
        assert asyncio.get_running_loop().time() - began < 5
    assert (exit_code, errors) == (0, "")
    assert "Traceback" not in out
    assert {ending[1] for ending in endings} == {1012} == {code}
    assert all(kinds[-1] == "closing" for kinds, _ in endings)
    assert {page["next"] for page in pages} == {position}
    # Whatever was read of the 100 publishes is stored and acked; the rest was refused with a reason to try again.
    assert acks.count("ack") + acks.count("error") <= 100
    stored = acks.count("ack")
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        async with http.get(f"{server.url}/rooms/other?since=start&limit=1000") as response:
            assert (await response.json())["head"] == stored


async def test_stopping_cuts_connections_that_never_asked(http: aiohttp.ClientSession) -> None:
    """Idle sockets and keep-alive connections do not hold the server up."""
    with Server() as server:
        pairs = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        async with http.get(f"{server.url}/healthz") as response:
            assert response.status == 200
        code, _, errors = await asyncio.to_thread(server.stop)
        for _, writer in pairs:
            writer.transport.abort()
    assert (code, errors) == (0, "")


async def test_a_plain_uvicorn_stops_too(http: aiohttp.ClientSession) -> None:
    """`uvicorn app:app` with open streams of all kinds (R40)."""
    command = [sys.executable, "-m", "uvicorn", "tests.asgi_app:app", "--port", "PORT", "--log-level", "error"]
    with Server(command=command) as server:
        url = f"{server.url}/rooms/house"
        socket = await http.ws_connect(url)
        events = await http.get(url, headers={"Accept": "text/event-stream"})
        poll = asyncio.ensure_future(http.get(f"{url}?since=now&wait=60"))
        await parked(http, server)
        _, _, errors = await asyncio.to_thread(server.stop)
        assert "Traceback" not in errors
        async for _ in socket:
            pass
        events.close()
        poll.cancel()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "redis:"], "it is none of memory:, sqlite:///PATH and redis://HOST"),
        (["--store", "sqlite:////no/such/folder/x.db"], "the folder /no/such/folder does not exist"),
        (["--host", "0.0.0.0"], "--allow-anonymous"),
        (["--host", "203.0.113.1", "--allow-anonymous"], "cannot listen on 203.0.113.1:0"),
        (["--port", "70000"], "port 70000 is not between 0 and 65535"),
        (["--ping-interval", "5"], "less than ping_interval"),
        (["--config", "/no/such/file"], "/no/such/file"),
    ],
)
def test_wrong_settings_are_one_line_and_exit_2(arguments: list[str], message: str) -> None:
    ended = trunkline("serve", "--store", "memory:", "--port", "0", *arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_the_port_is_taken(tmp_path: Path) -> None:
    with Server() as server:
        ended = trunkline("serve", "--port", str(server.port), "--store", "memory:")
    assert ended.returncode == 2
    assert "Address already in use" in ended.stderr


def test_the_file_is_taken(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/log.db"
    with Server(store=store) as server:
        ended = trunkline("serve", "--port", "0", "--store", store)
        assert f"in use by another Trunkline (pid {server.process.pid})" in ended.stderr
    assert ended.returncode == 2


def test_publish_and_tail(tmp_path: Path) -> None:
    """What is published on one command line comes out of another, over a restart of the server."""
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        url = ["--url", server.url]
        sent = trunkline("publish", "news", '{"n": 1}', "--id", "one", *url)
        assert (sent.returncode, sent.stderr) == (0, "")
        epoch = sent.stdout.split()[1].split(".")[0]
        assert sent.stdout == f"news {epoch}.1\n"
        again = trunkline("publish", "news", "whatever", "--id", "one", *url)
        assert again.stdout == f"news {epoch}.1 (it was there already)\n"
        command = [sys.executable, "-m", "trunkline", "tail", "news", "--since", "start", "--count", "3", *url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tail:
            assert tail.stdout is not None
            assert json.loads(tail.stdout.readline())["data"] == {"n": 1}
            server.kill()
            server.start()
            trunkline("publish", "news", "plain text", *url)
            trunkline("publish", "news", "[3]", *url)
            assert [json.loads(tail.stdout.readline())["data"] for _ in range(2)] == ["plain text", [3]]
            assert tail.wait(WAIT_S) == 0
        last = trunkline("tail", "news", "--last", "1", "--count", "1", *url)
        assert json.loads(last.stdout)["offset"] == 3


def test_publish_in_the_trace_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    monkeypatch.setenv("TRACESTATE", "a=1")
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        assert trunkline("publish", "news", "1", "--url", server.url).returncode == 0
        tail = trunkline("tail", "news", "--since", "start", "--count", "1", "--url", server.url)
    message = json.loads(tail.stdout)
    assert [message["traceparent"], message["tracestate"]] == [os.environ["TRACEPARENT"], "a=1"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["publish", "a b", "1"], 2, "a room name is"),
        (["tail", "a/b"], 2, "a room name is"),
        (["publish", "r", "x" * 66_000], 2, "at most 65536 allowed"),
        (["tail", "r", "--since", "?"], 2, "since is start, now"),
        (["publish", "r", "1", "--url", "ftp://x"], 2, "is no http:// or https:// address"),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], code: int, message: str) -> None:
    with Server() as server:
        url = [] if "--url" in arguments else ["--url", server.url]
        ended = trunkline(*arguments, *url)
    assert ended.returncode == code
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_no_server() -> None:
    ended = trunkline("publish", "r", "1", "--url", f"http://127.0.0.1:{free_port()}")
    assert ended.returncode == 1
    assert "no server at 127.0.0.1" in ended.stderr


def test_settings_from_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file makes a server, the environment beats it, a flag beats both."""
    port, other = free_port(), free_port()
    config = tmp_path / "trunkline.toml"
    config.write_text(f'port = {other}\nstore = "sqlite:///{tmp_path}/file.db"\n')
    command = [sys.executable, "-m", "trunkline", "serve", "--config", str(config), "--port", str(port)]
    environment = {"PATH": "/usr/bin", "TRUNKLINE_STORE": f"sqlite:///{tmp_path}/environment.db"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert line == f"Trunkline on http://127.0.0.1:{port}, data in {tmp_path}/environment.db\n"


async def test_kill_9_and_back(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """Killed ten times under publishing: readers of all transports have every acked message once, in order."""
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        transports = ("websocket", "sse", "longpoll", "shortpoll")
        followers = [Follower(kind, http, server.url, "phoenix") for kind in transports]
        acked: dict[str, int] = {}
        going = True

        async def chat(name: str) -> None:
            for n in count():
                message_id = f"{name}-{n}"
                acked[message_id] = (await publish_surely(http, server.url, "phoenix", message_id, message_id))[
                    "offset"
                ]
                if not going:
                    return

        publishers = [asyncio.ensure_future(chat(name)) for name in "abcd"]
        for round_ in range(1, 11):
            while len(acked) < 40 * round_:
                await asyncio.sleep(0.01)
            server.kill()
            server.start()
        going = False
        await asyncio.gather(*publishers)
        head = max(acked.values())
        for follower in followers:
            await follower.until(head)
            await follower.stop()
    for follower in followers:
        assert follower.gaps == []
        assert follower.offsets == list(range(1, head + 1))
        by_id = {message["id"]: message["offset"] for message in follower.messages}
        assert len(by_id) == head, "an id came twice"
        assert by_id == acked


async def test_a_wiped_store_is_a_gap(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """Somebody deletes the log: readers are told, and read the new one from its start (R3)."""
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        followers = [Follower(kind, http, server.url, "r") for kind in ("websocket", "sse", "longpoll", "shortpoll")]
        for n in range(3):
            await publish(http, server.url, "r", n)
        for follower in followers:
            await follower.until(3)
        server.kill()
        for file in tmp_path.glob("log.db*"):
            file.unlink()
        server.start()
        await publish_surely(http, server.url, "r", "new", "new")
        for follower in followers:
            await follower.until(4)
            await follower.stop()
            assert follower.offsets == [1, 2, 3, 1]
            assert [(gap["reason"], gap["from"], gap["to"]) for gap in follower.gaps] == [("epoch", 1, 0)]


async def test_a_restart_is_no_gap(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """An orderly restart, with nobody publishing: the same epoch, nothing repeated."""
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        await publish(http, server.url, "r", 1)
        positions = set()
        for _ in range(3):
            async for _, _, position in stream("sse", http, server.url, "r", {"since": "start"}):
                positions.add(position)
                break
            server.stop()
            server.start()
    assert len(positions) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_signal_waits_for_nobody(tmp_path: Path, number: int) -> None:
    """With streams and polls open: it ends at once, without a traceback, and the log is closed in order."""
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        async with aiohttp.ClientSession() as http:
            for _ in range(3):
                await http.get(f"{server.url}/rooms/a", headers={"Accept": "text/event-stream"})
                await http.ws_connect(f"{server.url}/rooms/a")
            poll = asyncio.ensure_future(http.get(f"{server.url}/rooms/a?wait=30"))
            await parked(http, server)
            began = time.monotonic()
            for _ in range(3):
                server.process.send_signal(number)
                await asyncio.sleep(0.1)  # as a person does
            code, _, errors = await asyncio.to_thread(server.stop)
            assert time.monotonic() - began < 2
            assert (code, errors) == (0, "")
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)
    with closing(sqlite3.connect(tmp_path / "log.db")) as log:
        assert log.execute("SELECT stopped FROM log").fetchone() == (1,)


def test_a_new_epoch_by_hand(tmp_path: Path) -> None:
    """What cannot be found out, the operator says; not while a server uses the log."""
    store = ["--store", f"sqlite:///{tmp_path}/log.db"]
    with Server(store=store[1]) as server:
        assert trunkline("publish", "general", "1", "--url", server.url).returncode == 0
        refused = trunkline("epoch", "new", *store)
        assert refused.returncode == 2
        assert "in use by another Trunkline" in refused.stderr
        server.stop()
    done = trunkline("epoch", "new", *store)
    assert (done.returncode, done.stderr) == (0, "")
    assert "each room goes on in a new epoch" in done.stdout
    with Server(store=store[1]) as server:
        again = trunkline("publish", "general", "2", "--url", server.url)
        assert again.stdout.split(".")[1] == "2\n"
    missing = trunkline("epoch", "new", "--store", f"sqlite:///{tmp_path}/other.db")
    assert missing.returncode == 2
    assert "there is no log" in missing.stderr
    assert trunkline("epoch", "new", "--store", "memory:").returncode == 2
