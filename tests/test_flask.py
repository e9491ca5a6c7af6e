"""Rooms for Flask: tokens, pages and publishing, with and without a request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import jwt
import pytest
from flask import Flask, render_template_string, session

from tests.support import Server
from trunkline import ConfigError, Grant, Permissions
from trunkline.backend import derived_secret
from trunkline.client import ClientError
from trunkline.flask import Rooms

SECRET_KEY = "of the tests, and of nothing else"
PAGE = "{{ trunkline() }}{{ trunkline_client() }}"


def make(**config: object) -> tuple[Flask, Rooms]:
    app = Flask(__name__)
    app.config.update(SECRET_KEY=SECRET_KEY, **config)
    rooms = Rooms()
    rooms.init_app(app)

    @rooms.user
    def user() -> Grant | None:
        name = session.get("name")
        return None if name is None else Grant(user=name, permissions=Permissions(read=("inbox:{user}",)))

    @app.route("/sign-in/<name>")
    def sign_in(name: str) -> str:
        session["name"] = name
        return ""

    @app.route("/")
    def page() -> str:
        return render_template_string(PAGE)

    return app, rooms


@pytest.fixture
def server() -> Iterator[Server]:
    environment = {"TRUNKLINE_JWT__SECRET": derived_secret(SECRET_KEY)}
    with Server("--auth", "jwt", environment=environment) as running:
        yield running


def test_who_is_signed_in_gets_a_token() -> None:
    browser = make()[0].test_client()
    answer = browser.get("/trunkline/token")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (401, "unauthorized")
    browser.get("/sign-in/ada")
    answer = browser.get("/trunkline/token")
    claims = jwt.decode(answer.get_json()["token"], derived_secret(SECRET_KEY), algorithms=["HS256"])
    assert (claims["sub"], claims["rooms"]) == ("ada", {"read": ["inbox:ada"]})
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_page_says_where_the_rooms_are_and_who_asks() -> None:
    browser = make(TRUNKLINE_PUBLIC_URL="https://rooms.example/</script>")[0].test_client()
    browser.get("/sign-in/ada")
    text = browser.get("/").text
    assert text.startswith(
        '<script type="application/json" id="trunkline">{"url":"https://rooms.example/\\u003c/script'
    )
    assert text.count("</script>") == 1
    assert text.endswith("/trunkline/client/page.js")
    assert "export const client" in browser.get("/trunkline/client/page.js", buffered=True).text
    assert browser.get("/trunkline/client/../../app.py").status_code == 404
    assert '"token":"ey' in text
    assert '"token_url":"/trunkline/token"' in text


def test_publishing_in_a_request_on_a_thread_and_in_a_task(server: Server) -> None:
    app, rooms = make(TRUNKLINE_URL=server.url)
    with app.test_request_context():
        assert rooms.publish("r", 1) == 1
    offsets: list[int] = []
    thread = threading.Thread(target=lambda: offsets.append(rooms.publish("r", 2, sender="ada")))
    thread.start()
    thread.join()
    assert offsets == [2]
    assert rooms.position("r").endswith(".2")


def test_a_server_that_is_away_is_said_in_time() -> None:
    _, rooms = make(TRUNKLINE_URL="http://127.0.0.1:9")
    with pytest.raises(ClientError) as error:
        rooms.publish("r", 1, timeout_s=0.3)
    assert error.value.code == "timeout"
    with pytest.raises(ClientError):
        rooms.position("r", timeout_s=0.3)


def test_a_setting_that_cannot_be_used_is_said_at_once() -> None:
    with pytest.raises(ConfigError, match="SECRET_KEY"):
        Rooms(Flask(__name__))
    with pytest.raises(ConfigError, match="no http://"):
        make(TRUNKLINE_URL="localhost:8001")
    with pytest.raises(ConfigError, match="at least 32"):
        make(TRUNKLINE_SECRET="short")
    with pytest.raises(ConfigError, match="init_app"):
        _ = Rooms().backend


def test_a_function_that_cannot_be_asked_is_refused() -> None:
    _, rooms = make()

    async def user() -> Grant | None:
        return None

    with pytest.raises(ConfigError, match="async"):
        rooms.user(user)  # type: ignore[type-var]
    app = Flask(__name__)
    app.config.update(SECRET_KEY=SECRET_KEY, TESTING=True)
    Rooms(app)
    with pytest.raises(ConfigError, match="@rooms.user"):
        app.test_client().get("/trunkline/token")


def test_a_grant_that_ends_gives_a_token_that_ends_then() -> None:
    app, rooms = make()
    ends: list[float] = []

    @rooms.user
    def user() -> Grant | None:
        return Grant(user="ada", expires_at=ends[-1], token_id="of-the-session")

    browser = app.test_client()
    ends.append(time.time() + 60)
    claims = jwt.decode(browser.get("/trunkline/token").get_json()["token"], options={"verify_signature": False})
    assert claims["exp"] - time.time() < 62
    assert claims["jti"] == "of-the-session"
    ends.append(time.time() - 1)
    assert browser.get("/trunkline/token").status_code == 401


def test_the_command_is_there() -> None:
    result = make()[0].test_cli_runner().invoke(args=["trunkline", "serve", "--help"])
    assert "--port" in result.output
