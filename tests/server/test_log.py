"""The log of the server: as text and as JSON, bounded, and without secrets."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from tests.access.support import ADMIN, SECRET, bearer, token
from tests.support import Server, until
from trunkline.server import log as module
from trunkline.server.log import LogHandler, formatter_of


@contextmanager
def logging_to(stream: io.TextIOBase, name: str) -> Iterator[logging.Logger]:
    handler = LogHandler(formatter_of("json", colors=False), stream)  # type: ignore[arg-type]
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        handler.close()
        logger.removeHandler(handler)


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_a_line_of_json_has_what_was_logged_and_when() -> None:
    out = io.StringIO()
    with logging_to(out, "test.json") as log:
        log.warning("node %s is silent", "abc", extra={"seconds": 3, "odd": object()})
        try:
            raise ValueError("a reason")
        except ValueError:
            log.exception("it failed")
    first, second = lines(out.getvalue())
    assert first["event"] == "node abc is silent"
    assert (first["level"], first["seconds"]) == ("warning", 3)
    assert (first["kind"], first["pid"]) == ("node %s is silent", os.getpid())
    assert "kind" not in second
    assert str(first["timestamp"]).endswith("Z")
    assert "ValueError: a reason" in str(second["exception"])


def test_a_line_for_people_has_its_fields_behind_it() -> None:
    record = logging.makeLogRecord(
        {"name": "t", "levelname": "INFO", "levelno": 20, "msg": "ended", "code": 1000, "process": 7}
    )
    assert formatter_of("console", colors=False).format(record).endswith("ended code=1000 pid=7")


def test_what_is_repeated_is_counted() -> None:
    out = io.StringIO()
    with logging_to(out, "test.repeated") as log:
        for n in range(100):
            log.warning("cannot reach %s", n)
        for code in ("a", "b"):
            log.warning("refused", extra={"code": code})
    found = lines(out.getvalue())
    said = [line for line in found if "cannot reach" in str(line["event"])]
    assert len(said) == module.LINES_MAX + 1
    assert said[-1]["repeated"] == 100 - module.LINES_MAX
    assert [line["code"] for line in found if line["event"] == "refused"] == ["a", "b"]


def test_whoever_does_not_read_the_log_holds_nothing_up(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(module, "QUEUE_MAX", 5)
    may_write = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            may_write.wait(20)
            return super().write(text)

    out = Stuck()
    with logging_to(out, "test.stuck") as log:
        for n in range(50):
            log.warning(f"line {n}")
        may_write.set()
        until(lambda: "log lines dropped" in out.getvalue(), "what was dropped is told")
    dropped = next(line for line in lines(out.getvalue()) if line["event"] == "log lines dropped")
    written = [line for line in lines(out.getvalue()) if str(line["event"]).startswith("line ")]
    assert len(written) + int(str(dropped["lines"])) == 50


def served(tmp_path: Path, *arguments: str) -> Server:
    config = tmp_path / "c.toml"
    config.write_text(f'auth = "jwt"\norigins = ["https://a.example"]\n[jwt]\nsecret = "{SECRET}"\n')
    return Server(
        "--config", str(config), "--log-format", "json", *arguments, environment={"TRUNKLINE_LOG_LEVEL": "info"}
    )


async def test_one_line_at_the_end_of_each_connection_and_none_has_a_token(tmp_path: Path) -> None:
    secret = token("ana", rooms=ADMIN)
    with served(tmp_path) as server:
        async with aiohttp.ClientSession() as http:
            async with http.ws_connect(f"{server.url}/connect?room=a", headers=bearer(secret)) as socket:
                await socket.receive()
                await socket.send_json({"type": "auth", "token": secret})
                await socket.send_json({"type": "message", "room": "a", "data": 1})
                for _ in range(4):  # joined, the new grant, the ack and the message
                    await socket.receive()
                await socket.close(code=4999)
            headers = {"Accept": "text/event-stream", **bearer(secret)}
            async with http.get(f"{server.url}/rooms/a?last=1&token={secret}", headers=headers) as events:
                await events.content.readuntil(b"data:")
            async with http.get(f"{server.url}/rooms/a", headers={"Authorization": f"Bearer {secret}x"}) as refused:
                assert refused.status == 401
            async with http.get(
                f"{server.url}/rooms/a", headers={"Origin": "https://b.example", **bearer(secret)}
            ) as r:
                assert r.status == 403
        code, _, errors = server.stop()
    assert code == 0
    found = lines(errors)
    ended = {str(line["transport"]): line for line in found if line["event"] == "connection ended"}
    assert ended["websocket"]["user"] == "ana"
    assert ended["websocket"]["code"] == 4999
    assert ended["websocket"]["messages"] == 1
    assert ended["websocket"]["address"] == "127.0.0.1"
    assert ended["sse"]["code"] in (1000, 1006)  # a client that leaves with something unread resets its connection
    assert ended["sse"]["session"]
    refused_codes = {line["code"]: line["what_to_do"] for line in found if line["event"] == "client refused"}
    assert set(refused_codes) == {"unauthorized", "bad_origin"}
    assert "origins" in str(refused_codes["bad_origin"])
    assert [line["event"] for line in found][-2:] == ["draining", "drained"]
    assert secret not in errors
    assert secret.rpartition(".")[2] not in errors


def test_what_uvicorn_says_goes_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        raise RuntimeError('of the application')\n"
    )
    command = [sys.executable, "-m", "trunkline", "run", "failing:app", "--port", "PORT", "--log-format", "json"]
    with Server(command=command, folder=tmp_path, environment={"PYTHONPATH": str(tmp_path)}) as server:
        subprocess.run(["curl", "-s", server.url], check=True, capture_output=True)
        _, _, errors = server.stop()
    [line] = [line for line in lines(errors) if line["event"] == "Exception in ASGI application"]
    assert "of the application" in str(line["exception"])


def test_a_closed_standard_error_ends_nothing(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        assert server.process.stderr is not None
        server.process.stderr.close()  # whoever collects the log has ended
        for _ in range(3):
            subprocess.run(["curl", "-s", f"{server.url}/rooms/a"], check=True, capture_output=True)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        server.process.stderr = None


def test_without_a_standard_error_it_serves_without_a_log() -> None:
    command = f"exec {sys.executable} -m trunkline serve --port $0 --store memory: 2>&-"
    with Server(command=["sh", "-c", command, "PORT"]) as server:
        subprocess.run(["curl", "-sf", f"{server.url}/livez"], check=True, capture_output=True)
        assert server.stop()[0] == 0


def test_no_terminal_is_told_what_to_do_by_a_client() -> None:
    odd = "a\x1b[31mred\x9b31m\nline\ud800"
    for form in ("console", "json"):
        record = logging.makeLogRecord(
            {"name": "t", "levelname": "INFO", "levelno": 20, "msg": "of %s", "args": (odd,)}
        )
        record.__dict__["user"] = odd
        line = formatter_of(form, colors=False).format(record)
        assert line.isprintable()
        line.encode()
