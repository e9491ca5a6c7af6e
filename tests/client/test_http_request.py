import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support import free_port
from trunkline.client.http_request import Refused, Unreachable, room_url, send


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = {"token": self.headers.get("Authorization")}
        self.answer(200, json.dumps(body).encode())

    def do_GET(self) -> None:
        if "refused" in self.path:
            error = {"code": "forbidden", "message": "you may not read r", "retry_after_ms": 1500}
            self.answer(403, json.dumps({"error": error}).encode())
        else:
            self.answer(502, b"<html>a proxy</html>")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_answer(url: str) -> None:
    with send(f"{url}/x", body=b"{}", token="secret", timeout_s=5) as response:
        assert json.load(response) == {"token": "Bearer secret"}


def test_a_refusal_of_our_server_and_one_of_a_proxy(url: str) -> None:
    with pytest.raises(Refused, match="you may not read r") as caught:
        send(f"{url}/refused", timeout_s=5)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (403, "forbidden", 1.5)
    with pytest.raises(Refused) as caught:
        send(f"{url}/proxy", timeout_s=5)
    assert (caught.value.code, caught.value.retry_after_s) == ("http 502", 0)


def test_no_server() -> None:
    with pytest.raises(Unreachable, match="no server at 127.0.0.1"):
        send(f"http://127.0.0.1:{free_port()}/", timeout_s=1)


def test_urls() -> None:
    assert room_url("http://h/mount/", "a b") == "http://h/mount/rooms/a%20b"
    assert room_url("https://h", "a", {"since": "1"}) == "https://h/rooms/a?since=1"
    with pytest.raises(ValueError, match="no http"):
        room_url("ftp://h", "a")
