"""Who has no session of the site any more is gone from its rooms, too.

Django tells when a user signs out, and the streams of that session end at once. It does not tell when a session is
deleted, a password changed or a user no longer active: so the sessions of streams are looked at once in a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from trunkline.client.deadline import within
from trunkline.django.conf import get_settings
from trunkline.django.rooms import backend, get_hub
from trunkline.django.sessions import grants_of, keep_keys, named, on_thread
from trunkline.errors import RequestError
from trunkline.hub import Hub, context_of, loop_of, run_sync

log = logging.getLogger("trunkline")

LOGOUT_S = 2.0
AT_ONCE = 50


def end_session(*, request: Any, **_: object) -> None:
    """End the connections of a session whose user logs out (a receiver of `user_logged_out`)."""
    session = getattr(request, "session", None)
    if session is None or not session.session_key:
        return
    try:
        _revoke(named(session)[0])
    except Exception as error:  # noqa: BLE001 - who logs out is logged out of the site in any case
        log.error("the connections of a session that has ended were not ended: %s: %s", type(error).__name__, error)


def _revoke(token_id: str) -> None:
    if get_settings().store is None:
        within(LOGOUT_S, lambda: backend().operator.revoke(None, token_id))
        return
    hub = get_hub()
    loop = loop_of(hub)
    if loop is None:
        return  # no rooms are in this process: those of others find out by themselves
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:  # an asynchronous view, on the hub's own loop
        task = here.create_task(hub.revoke(token_id=token_id))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return
    run_sync(hub, lambda: hub.revoke(token_id=token_id), LOGOUT_S)


@asynccontextmanager
async def watched(hub: Hub) -> AsyncIterator[None]:
    """Look at the sessions of the hub's streams every `SESSION_CHECK_S` seconds, for as long as this is entered."""
    watching = asyncio.create_task(_watch(hub, get_settings().session_check_s))
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _watch(hub: Hub, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await _look(hub)
        except Exception as error:  # noqa: BLE001 - the database is away, in any backend's words
            log.warning("the sessions of streams cannot be looked at: %s: %s", type(error).__name__, error)


async def _look(hub: Hub) -> None:
    registry = context_of(hub).access.registry
    names = keep_keys({connection.grant.token_id for connection in registry})
    for at in range(0, len(names), AT_ONCE):
        found = await on_thread(grants_of, names[at : at + AT_ONCE])
        for connection in registry:
            name = connection.grant.token_id
            if name in found:
                grant = found[name]
                if grant is None or grant.user != connection.grant.user:
                    connection.dismiss(RequestError("revoked", "the session has ended: sign in again"))
                elif grant.permissions != connection.grant.permissions:
                    registry.renew(connection, grant)
                    connection.renewed(grant)
