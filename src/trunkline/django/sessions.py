"""Django's sessions: the rooms know the users that the site knows, for as long as the site does."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.db import close_old_connections
from django.http import HttpRequest

from trunkline.core.grant import Grant
from trunkline.django.conf import permissions_of, permissions_of_anonymous
from trunkline.wire.credentials import Credentials

NAMED = "_trunkline"
"""Under this key of a session: what its grants and tokens are called, and when it was signed in, in seconds."""

_threads = ThreadPoolExecutor(8, "trunkline-django")  # each has its connections to the database, for one question


async def authenticate(credentials: Credentials) -> Grant | None:
    """Return the grant of the user whose session a request's cookie names (`AuthenticateHook`).

    A client that brings a token is known by that.
    """
    if credentials.token is not None:
        return None
    key = credentials.cookies.get(settings.SESSION_COOKIE_NAME)
    grant = None
    if key:
        grant = await on_thread(_grant_of, key)
        if grant is not None and grant.token_id is not None:
            _keys[grant.token_id] = key
    if grant is None and (anonymous := permissions_of_anonymous()) is not None:
        return Grant(user=None, permissions=anonymous)
    return grant


async def on_thread(function: Any, *arguments: Any) -> Any:
    """Return what a function returns that asks the database, outside of a request: on a thread that keeps nothing."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _with_database, function, *arguments)


def _with_database(function: Any, *arguments: Any) -> Any:
    close_old_connections()
    try:
        return function(*arguments)
    finally:
        close_old_connections()


_keys: dict[str, str] = {}  # of the sessions that streams were opened with, by their names


def keep_keys(names: Collection[str | None]) -> list[str]:
    """Forget the keys of all other sessions; return the names of those that are kept."""
    for name in [name for name in _keys if name not in names]:
        del _keys[name]
    return list(_keys)


def grants_of(names: Sequence[str]) -> dict[str | None, Grant | None]:
    """Return what sessions are good for now, by their names: None for one that has ended, or is another user's."""
    found: dict[str | None, Grant | None] = {}
    for name in names:
        grant = _grant_of(_keys.get(name, ""))
        found[name] = grant if grant is not None and grant.token_id == name else None
    return found


def _grant_of(key: str) -> Grant | None:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user: Any = get_user(request)
    if not user.is_authenticated or not user.is_active:
        return None
    name, at = named(request.session)
    return Grant(
        user=str(user.pk),
        permissions=permissions_of(user),
        expires_at=request.session.get_expiry_date().timestamp(),
        issued_at=at,
        token_id=name,
    )


def named(session: Any) -> tuple[str, float | None]:
    """Return what grants and tokens of a session are called, which does not tell its key; and when it was signed in.

    A session keeps its name when its key changes. One that was signed in before there were rooms has one of its key.
    """
    found = session.get(NAMED)
    if isinstance(found, list) and len(found) == 2:
        return f"session.{found[0]}", float(found[1])
    digest = hashlib.sha256(str(session.session_key).encode()).hexdigest()
    return f"session.{digest[:32]}", None


def name_session(*, request: Any, **_: object) -> None:
    """Name a session (a receiver of `user_logged_in`)."""
    session = getattr(request, "session", None)
    if session is not None:
        session[NAMED] = [secrets.token_hex(16), time.time()]
