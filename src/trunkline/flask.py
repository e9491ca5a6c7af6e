"""Rooms for Flask: an application publishes to a server that runs beside it, and signs tokens for its users."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
from flask import Blueprint, Flask, Response, current_app, has_app_context, jsonify, url_for
from markupsafe import Markup

from trunkline.backend import PUBLISH_S, Backend, derived_secret
from trunkline.beside import serve_beside
from trunkline.core.grant import Grant
from trunkline.errors import ConfigError
from trunkline.page_settings import page_settings

UserT = TypeVar("UserT", bound=Callable[[], Grant | None])

_NAME = "trunkline"


class Rooms:
    """The rooms of an application: `rooms = Rooms(app)`, or `rooms = Rooms()` and later `rooms.init_app(app)`.

    It gives the application a view `/trunkline/token`, the template functions `trunkline()` and `trunkline_client()`,
    and the command `flask trunkline serve`. Its settings are the application's:

    - `TRUNKLINE_URL`: the server's address, `http://127.0.0.1:8001` by default.
    - `TRUNKLINE_PUBLIC_URL`: the same as browsers reach it, if that is another one.
    - `TRUNKLINE_SECRET`: what tokens are signed with; made of `SECRET_KEY` by default.
    - `TRUNKLINE_STORE`: of `flask trunkline serve`, `sqlite:///trunkline.db` by default.
    - `TRUNKLINE_ORIGINS`: origins of the application's pages, a list or a text with commas;
      `["http://localhost:5000", "http://127.0.0.1:5000"]` by default.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._user: Callable[[], Grant | None] | None = None
        self._app: Flask | None = None
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give an application its rooms.

        Raises:
            ConfigError: A setting cannot be used.
        """
        app.config.setdefault("TRUNKLINE_URL", "http://127.0.0.1:8001")
        app.config.setdefault("TRUNKLINE_STORE", "sqlite:///trunkline.db")
        app.config.setdefault("TRUNKLINE_ORIGINS", ["http://localhost:5000", "http://127.0.0.1:5000"])
        self._app = self._app or app
        app.extensions[_NAME] = self
        self._backend_of(app)  # so that a setting that cannot be used is said now
        client = Path(str(files("trunkline").joinpath("web/client"))).resolve()
        views = Blueprint(_NAME, __name__, url_prefix="/trunkline", static_folder=client, static_url_path="/client")
        views.add_url_rule("/token", "token", self._answer_token)
        app.register_blueprint(views)
        app.jinja_env.globals.update(trunkline=self.settings, trunkline_client=self.client_url)
        app.cli.add_command(_commands(self))

    def user(self, function: UserT) -> UserT:
        """Decorator: say who is signed in: a function that returns the `Grant` of the current request's user, or None.

        What the grant permits, the tokens of that user permit.
        """
        if inspect.iscoroutinefunction(function):
            raise ConfigError("rooms.user: the function is async, and is asked in templates: it must not be")
        self._user = function
        return function

    @property
    def backend(self) -> Backend:
        """The server, as the current application knows it; on threads and in tasks, the first that has these rooms.

        Raises:
            ConfigError: A setting cannot be used, or no application has these rooms.
        """
        app = current_app if has_app_context() else self._app
        if app is None:
            raise ConfigError("no application has these rooms yet: rooms.init_app(app)")
        return self._backend_of(app)

    def _backend_of(self, app: Flask) -> Backend:
        url, public_url = app.config["TRUNKLINE_URL"], app.config.get("TRUNKLINE_PUBLIC_URL")
        return Backend(url, secret=self._secret(app), public_url=public_url)

    def publish(
        self,
        room: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        sender: str | None = None,
        timeout_s: float = PUBLISH_S,
    ) -> int:
        """Publish any JSON value, and return its offset once the log has it (`Backend.publish`).

        Raises:
            ClientError: It was refused; or (`timeout`) it is not known whether it was stored: try again, with the same
                id.
        """
        return self.backend.publish(room, data, id=id, sender=sender, timeout_s=timeout_s)

    def position(self, room: str, *, timeout_s: float = PUBLISH_S) -> str:
        """Return where a room stands now: what a page that shows the present state follows it from.

        Raises:
            ClientError: It cannot be read now.
        """
        return self.backend.position(room, timeout_s=timeout_s)

    def token(self, *, expires_in_s: float = 3600.0) -> str | None:
        """Return a token for the user of the current request; None if it has none.

        Raises:
            ConfigError: There is no function to ask (`user`).
        """
        if self._user is None:
            raise ConfigError("say who the users are: @rooms.user")
        grant = self._user()
        if grant is None or grant.user is None:
            return None
        if grant.expires_at is not None:
            expires_in_s = min(expires_in_s, grant.expires_at - time.time())
            if expires_in_s < 1:
                return None
        return self.backend.token(grant.user, grant.permissions, expires_in_s=expires_in_s, token_id=grant.token_id)

    def settings(self) -> Markup:
        """Return what a page says to the client: in a template, `{{ trunkline() }}`."""
        element = page_settings(self.backend.public_url, self.token(), url_for("trunkline.token"))
        return Markup(element)  # noqa: S704 - safe to stand in a page

    def client_url(self) -> str:
        """Return where the page's client is: `import { client } from "{{ trunkline_client() }}"`."""
        return url_for("trunkline.static", filename="page.js")

    def _answer_token(self) -> tuple[Response, int]:
        token = self.token()
        answer = jsonify(error={"code": "unauthorized", "message": "log in"}) if token is None else jsonify(token=token)
        answer.headers["Cache-Control"] = "no-store"
        return answer, 401 if token is None else 200

    @staticmethod
    def _secret(app: Flask) -> str:
        given = app.config.get("TRUNKLINE_SECRET")
        if given is not None:
            return str(given)
        if not app.secret_key:
            raise ConfigError("set SECRET_KEY, or TRUNKLINE_SECRET: tokens are signed with it")
        return derived_secret(app.secret_key)


def _commands(rooms: Rooms) -> click.Group:
    group = click.Group(_NAME, help="Trunkline's server.")

    @group.command("serve")
    @click.option("--host", default="127.0.0.1", help="Address to listen on.")
    @click.option("--port", type=int, help="Port to listen on; by default that of TRUNKLINE_URL.")
    def serve(host: str, port: int | None) -> None:
        """Serve the rooms, beside this application and with its secret."""
        config = current_app.config
        origins = config["TRUNKLINE_ORIGINS"]
        try:
            serve_beside(
                rooms._secret(current_app),  # noqa: SLF001 - the extension's own
                lambda url, data: click.echo(f"Trunkline on {url}, data in {data}"),
                host=host,
                port=port or urlsplit(config["TRUNKLINE_URL"]).port or 8001,
                store=config["TRUNKLINE_STORE"],
                origins=origins.split(",") if isinstance(origins, str) else origins,
            )
        except ConfigError as error:
            raise click.ClickException(str(error)) from None

    return group
