"""Publishing and calling without await, against a server that answers as it is told."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from trunkline.client import ClientError, blocking


class Answers(http.server.BaseHTTPRequestHandler):
    statuses: list[int]
    code: str
    seen: list[tuple[str, dict[str, object], str | None]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, body, self.headers["Authorization"]))
        status = self.statuses.pop(0)
        if not status:  # the connection breaks
            self.close_connection = True
            return
        answer: object = {"offset": 7, "data": [7]}
        if status >= 400:
            answer = {"error": {"code": self.code, "message": "later"}} if self.code else "of a proxy"
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(blocking, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(blocking, "LONGEST_DELAY_S", 0.01)
    Answers.seen = []
    Answers.code = "overloaded"
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def test_it_tries_again_with_the_same_id(server: str) -> None:
    Answers.statuses = [503, 429, 201]
    assert blocking.publish(server, "a", {"n": 1}, token="t") == 7
    assert len({body["id"] for _, body, _ in Answers.seen}) == 1
    assert {(path, authorization) for path, _, authorization in Answers.seen} == {("/rooms/a", "Bearer t")}


def test_it_publishes_in_a_trace(server: str) -> None:
    """One that is not valid is left out."""
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    Answers.statuses = [201, 201]
    blocking.publish(server, "a", 1, id="k", traceparent=parent, tracestate="a=1")
    blocking.publish(server, "a", 1, id="k", traceparent="?", tracestate="a=1")
    expected = [{"id": "k", "data": 1, "traceparent": parent, "tracestate": "a=1"}, {"id": "k", "data": 1}]
    assert [body for _, body, _ in Answers.seen] == expected


def test_a_refusal_for_good_is_not_tried_again(server: str) -> None:
    Answers.statuses = [403]
    with pytest.raises(ClientError) as caught:
        blocking.publish(server, "a", 1)
    assert (caught.value.code, len(Answers.seen)) == ("overloaded", 1)


def test_it_gives_up_in_time(server: str) -> None:
    Answers.statuses = [503] * 1000
    with pytest.raises(ClientError, match="not known to be stored") as caught:
        blocking.publish(server, "a", 1, timeout_s=0.2)
    assert caught.value.code == "timeout"


def test_what_is_no_json_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="JSON"):
        blocking.publish("http://127.0.0.1:9", "a", float("nan"))


def test_a_call_is_tried_again_with_the_same_id(server: str) -> None:
    """Also when something on the way has answered, or nothing."""
    Answers.statuses = [503, 0, 200]
    assert blocking.call(server, "add", [1, 2], token="t") == [7]
    assert len({str(body["id"]) for _, body, _ in Answers.seen}) == 1
    assert {(path, str(body["data"]), token) for path, body, token in Answers.seen} == {
        ("/calls/add", "[1, 2]", "Bearer t")
    }
    Answers.code, Answers.statuses = "", [502, 200]
    assert blocking.call(server, "add", id="one") == [7]
    assert Answers.seen[-1][1] == {"id": "one", "data": None}


@pytest.mark.parametrize(
    ("code", "status"), [("full", 429), ("internal", 500), ("outcome_unknown", 504), ("unauthorized", 401)]
)
def test_a_refusal_of_a_call_is_told_at_once(server: str, code: str, status: int) -> None:
    Answers.code, Answers.statuses = code, [status]
    with pytest.raises(ClientError, match="later") as caught:
        blocking.call(server, "enter")
    assert (caught.value.code, len(Answers.seen)) == (code, 1)


@pytest.mark.parametrize(
    ("statuses", "fate"),
    [([503] * 1000, "it was not carried out: later"), ([503, 0] * 500, "it may have been carried out")],
)
def test_a_call_gives_up_in_time(server: str, statuses: list[int], fate: str) -> None:
    Answers.statuses = list(statuses)
    with pytest.raises(ClientError, match=f"no result within 0.2 s: {fate}") as caught:
        blocking.call(server, "add", timeout_s=0.2)
    assert caught.value.code == "timeout"


def test_a_call_is_not_sent_again_too_late(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server would not recognise it, and carry it out once more."""
    monkeypatch.setattr(blocking, "REPEAT_MS", 100)
    Answers.statuses = [0] * 1000
    with pytest.raises(ClientError, match="too late to call again") as caught:
        blocking.call(server, "add", timeout_s=60)
    assert caught.value.code == "outcome_unknown"
