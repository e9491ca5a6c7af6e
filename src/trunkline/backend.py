"""The back end of an application beside a stand-alone server: publishes, signs tokens, looks into rooms; all by HTTP.

It holds nothing but settings, so it is safe wherever Python runs: in threads, in forked workers, in a task queue.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trunkline.access.issuer import Issuer
from trunkline.access.jwt import sign
from trunkline.access.keys import secret_of
from trunkline.client.blocking import publish
from trunkline.client.deadline import within
from trunkline.client.errors import ClientError
from trunkline.client.http_request import Refused, Unreachable, room_url, send
from trunkline.core.grant import Permissions
from trunkline.errors import ConfigError
from trunkline.remote_admin import Operator

PUBLISH_S = 2.0  # a request waits no longer for the server, unless it says so
TOKEN_S = 3600.0
OWN_TOKEN_S = 60.0

PermissionsLike = Permissions | Mapping[str, Sequence[str]]
"""Permissions, or their patterns by action: `{"read": ["chat:*"]}`."""


class Backend:
    """An application's back end, beside a stand-alone server that shares a secret with it.

    Args:
        url: The server's address, as this machine reaches it, such as `http://127.0.0.1:8001`.
        secret: What tokens are signed with (HS256): the server's `jwt.secret`, at least 32 bytes.
        public_url: The server's address as browsers reach it; *url* by default.
        user: In whose name messages are published that are given no sender.
        issuer, audience: What the server's settings `jwt.issuer` and `jwt.audience` say, if they do.

    Raises:
        ConfigError: The secret is too short, or *url* is no address.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str,
        public_url: str | None = None,
        user: str = "application",
        issuer: str | None = None,
        audience: str | None = None,
    ) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise ConfigError(f"{url!r} is no http:// or https:// address of a server")
        self.url = url.rstrip("/")
        self.public_url = (public_url or url).rstrip("/")
        self._user = user
        self._issuer = Issuer(secret=secret, issuer=issuer, audience=audience)
        secret_of(self._issuer)

    def publish(
        self,
        room: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        sender: str | None = None,
        timeout_s: float = PUBLISH_S,
    ) -> int:
        """Publish any JSON value, and return its offset once the log has it; tries again, with the same id, until then.

        Args:
            room: Name of the room.
            data: Anything that msgspec can encode as JSON.
            id: With the same id it is stored once, however often it is sent; also by a later call, or another process.
            sender: The user in whose name it is published.
            timeout_s: Seconds after which it gives up, whatever the network does.

        Raises:
            ClientError: It was refused; or (`timeout`) it is not known whether it was stored: try again, with the same
                id.
            TypeError: *data* cannot be encoded.
        """
        plain = msgspec.to_builtins(data)
        token = self.token(sender or self._user, Permissions(write=(room,)), expires_in_s=OWN_TOKEN_S)
        return within(timeout_s, lambda: publish(self.url, room, plain, id=id, token=token, timeout_s=timeout_s))

    def position(self, room: str, *, timeout_s: float = PUBLISH_S) -> str:
        """Return where a room stands now: what a page that shows the present state follows it from (`since`).

        Ask for it before you read the state: what changes meanwhile then comes twice, and not never.

        Args:
            room: Name of the room.
            timeout_s: Seconds after which it gives up, whatever the network does.

        Raises:
            ClientError: It cannot be read now.
        """
        token = self.token(self._user, Permissions(read=(room,)), expires_in_s=OWN_TOKEN_S)
        address = room_url(self.url, room, {"since": "now"})

        def ask() -> str:
            try:
                with send(address, token=token, timeout_s=timeout_s) as response:
                    return str(json.load(response)["next"])
            except Refused as error:
                raise ClientError(error.code, str(error)) from None
            except (Unreachable, OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
                raise ClientError("timeout", f"{self.url} does not answer: {error}") from None

        return within(timeout_s, ask)

    def token(
        self,
        user: str,
        permissions: PermissionsLike | None = None,
        *,
        expires_in_s: float = TOKEN_S,
        token_id: str | None = None,
    ) -> str:
        """Sign a token for a user, with which its page connects.

        Args:
            permissions: What it may do; `{user}` in a pattern is the user. None leaves it to the server's settings.
            expires_in_s: Seconds until the token ends.
            token_id: Its own name, by which it alone can be revoked; by default a random one.

        Raises:
            ConfigError: The permissions are no patterns.
        """
        allowed = None if permissions is None else as_permissions(permissions).for_user(user)
        return sign(self._issuer, user, expires_in_s, allowed, token_id)

    @property
    def operator(self) -> Operator:
        """What an administrator can ask of the server: rooms, messages, connections."""
        token = self.token(self._user, Permissions(admin=("*",)), expires_in_s=OWN_TOKEN_S)
        return Operator(self.url, token)


def as_permissions(permissions: PermissionsLike) -> Permissions:
    """Return permissions that were given by action.

    Raises:
        ConfigError: An action does not exist, or its patterns are no list of texts.
    """
    if isinstance(permissions, Permissions):
        return permissions
    try:
        return msgspec.convert(permissions, Permissions)
    except msgspec.ValidationError as error:
        raise ConfigError(f"permissions: {error}") from None


def derived_secret(secret: str | bytes) -> str:
    """Return a secret for tokens, made of a secret that the application has for other things.

    Args:
        secret: Such as Django's or Flask's `SECRET_KEY`.

    Raises:
        ConfigError: It is shorter than 16 bytes.
    """
    key = secret.encode() if isinstance(secret, str) else secret
    if len(key) < 16:
        raise ConfigError("the secret key of the application is shorter than 16 bytes: tokens could be forged")
    return hmac.new(key, b"trunkline tokens", hashlib.sha256).hexdigest()
