"""The rooms of a site: publishing, tokens, and the hub or the server that has them."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from trunkline.access.issuer import Issuer
from trunkline.access.jwt import JwtAuth
from trunkline.backend import Backend
from trunkline.django import sessions
from trunkline.django.conf import get_settings, permissions_of, when_changed
from trunkline.errors import ConfigError
from trunkline.hub import Hub, run_sync

log = logging.getLogger("trunkline")

_publishers = ThreadPoolExecutor(32, "trunkline-publish")


@lru_cache(maxsize=1)
def get_hub() -> Hub:
    """Return the hub of this process, to register handlers with and to read: `from trunkline.django import get_hub`.

    Raises:
        ImproperlyConfigured: The rooms are on a server beside this site, or a setting cannot be used.
    """
    found = get_settings()
    if found.store is None:
        raise ImproperlyConfigured("TRUNKLINE has a URL: the rooms are on that server, and not in this process")
    try:
        auth = JwtAuth([Issuer(secret=found.key)])
        given: dict[str, Any] = {"auth": auth, "origins": found.origins, "pages": False} | found.hub
        hub = Hub(found.store, **given)
    except (ConfigError, TypeError) as error:
        raise ImproperlyConfigured(f"TRUNKLINE: {error}") from None
    hub.authenticate(sessions.authenticate)
    return hub


@lru_cache(maxsize=1)
def backend() -> Backend:
    """Return the server beside this site, or what signs the tokens of the hub in this process.

    Raises:
        ImproperlyConfigured: A setting cannot be used.
    """
    found = get_settings()
    try:
        return Backend(found.url or "http://localhost", secret=found.key, public_url=found.public_url or found.url)
    except ConfigError as error:
        raise ImproperlyConfigured(f"TRUNKLINE: {error}") from None


when_changed += [get_hub.cache_clear, backend.cache_clear]


def public_url() -> str:
    """Return where the rooms are, for browsers."""
    found = get_settings()
    return backend().public_url if found.store is None else found.path.rstrip("/")


def token_for(user: Any, *, expires_in_s: float | None = None, token_id: str | None = None) -> str:
    """Sign a token for a user of Django.

    Args:
        user: The user.
        expires_in_s: Seconds until it ends; by default what the setting `TOKEN_S` says.
        token_id: Its own name, by which it can be revoked.

    Raises:
        ImproperlyConfigured: A setting cannot be used.
    """
    lasts_s = get_settings().token_s if expires_in_s is None else expires_in_s
    return backend().token(str(user.pk), permissions_of(user), expires_in_s=lasts_s, token_id=token_id)


def publish(
    room: str,
    data: Any,
    *,
    id: str | None = None,  # noqa: A002 - its name on the wire
    sender: str | None = None,
    timeout_s: float | None = None,
) -> int:
    """Publish a message now, and return its offset once the log has it: in a view, a command, a task, a shell.

    Args:
        room: Name of the room.
        data: Anything that msgspec can encode as JSON.
        id: The idempotency key: publishing it again returns the first offset.
        sender: The user in whose name it is published: `str(user.pk)`.
        timeout_s: Seconds after which it gives up; by default what the setting `PUBLISH_TIMEOUT_S` says.

    Raises:
        TrunklineError, ClientError: It was refused, or the log cannot be reached.
        TimeoutError, ClientError: It is not known whether it was stored; publish it again with the same *id*.
    """
    wait_s = _patience(timeout_s)
    if get_settings().store is None:
        return backend().publish(room, data, id=id, sender=sender, timeout_s=wait_s)
    return get_hub().publish_sync(room, data, id=id, sender=sender, timeout_s=wait_s).offset


async def apublish(
    room: str,
    data: Any,
    *,
    id: str | None = None,  # noqa: A002 - its name on the wire
    sender: str | None = None,
    timeout_s: float | None = None,
) -> int:
    """`publish` for asynchronous views. Raises like it."""
    wait_s = _patience(timeout_s)
    publish_there = partial(publish, room, data, id=id, sender=sender, timeout_s=wait_s)
    async with asyncio.timeout(wait_s):
        return await asyncio.get_running_loop().run_in_executor(_publishers, publish_there)


def position(room: str, *, timeout_s: float | None = None) -> str:
    """Return where a room stands now: what a page that shows the present state follows it from.

    Ask for it before you read the state: what changes meanwhile then comes twice, and not never. In the page:
    `client.room(name, { since: position })`.

    Raises:
        TrunklineError, ClientError, TimeoutError: It cannot be read now.
    """
    wait_s = _patience(timeout_s)
    if get_settings().store is None:
        return backend().position(room, timeout_s=wait_s)
    hub = get_hub()
    return run_sync(hub, lambda: hub.page(room, since="now", limit=0), wait_s).next


def publish_on_commit(
    room: str,
    data: Any,
    *,
    id: str | None = None,  # noqa: A002 - its name on the wire
    sender: str | None = None,
    using: str | None = None,
) -> None:
    """Publish a message when the transaction is committed; never if it is rolled back. Outside of one: now.

    If the server is away then, the message is lost, and that is logged: the transaction stands. `publish_later` is for
    what must not be lost.

    Args:
        room, data, id, sender: As for `publish`.
        using: The database whose transaction it is.
    """
    publish_now = partial(publish, room, data, id=id, sender=sender)
    transaction.on_commit(partial(_publish_or_log, room, publish_now), using=using)


def _patience(timeout_s: float | None) -> float:
    """Return how many seconds a caller waits that has said so, or what the setting says."""
    return get_settings().publish_timeout_s if timeout_s is None else timeout_s


def _publish_or_log(room: str, publish_now: partial[int]) -> None:
    try:
        publish_now()
    except Exception as error:  # noqa: BLE001 - what was committed stands, whatever becomes of the message
        log.error("a message of %s was not published on commit: %s: %s", room, type(error).__name__, error)
