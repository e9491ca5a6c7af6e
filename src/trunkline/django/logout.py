"""Who logs out of the site is gone from its rooms, too."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from trunkline.client.deadline import within
from trunkline.django.conf import get_settings
from trunkline.django.rooms import backend, get_hub
from trunkline.django.sessions import token_id_of
from trunkline.hub import loop_of, run_sync

log = logging.getLogger("trunkline")

LOGOUT_S = 2.0


def end_session(*, request: Any, **_: object) -> None:
    """End the connections of a session whose user logs out (a receiver of `user_logged_out`)."""
    session = getattr(request, "session", None)
    key = getattr(session, "session_key", None)
    if not key:
        return
    try:
        _revoke(token_id_of(key))
    except Exception as error:  # noqa: BLE001 - who logs out is logged out of the site in any case
        log.error("the connections of a session that has ended were not ended: %s: %s", type(error).__name__, error)


def _revoke(token_id: str) -> None:
    if get_settings().store is None:
        within(LOGOUT_S, lambda: backend().operator.revoke(None, token_id))
        return
    hub = get_hub()
    loop = loop_of(hub)
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is not None and here is loop:  # an asynchronous view, on the hub's own loop
        task = here.create_task(hub.revoke(token_id=token_id))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return
    run_sync(hub, lambda: hub.revoke(token_id=token_id), LOGOUT_S)
