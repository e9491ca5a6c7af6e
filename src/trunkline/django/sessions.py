"""Django's sessions: the rooms know the users that the site knows."""

from __future__ import annotations

import asyncio
import hashlib
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import aget_user
from django.http import HttpRequest

from trunkline.core.grant import Grant
from trunkline.django.conf import permissions_of, permissions_of_anonymous
from trunkline.wire.credentials import Credentials


async def authenticate(credentials: Credentials) -> Grant | None:
    """Return the grant of the user whose session a request's cookie names (`AuthenticateHook`).

    A client that brings a token is known by that.
    """
    if credentials.token is not None:
        return None
    key = credentials.cookies.get(settings.SESSION_COOKIE_NAME)
    user: Any = None
    if key:
        request = HttpRequest()
        request.COOKIES = credentials.cookies
        request.META["REMOTE_ADDR"] = credentials.address
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
        user = await aget_user(request)
    if user is None or not user.is_authenticated or not user.is_active:
        anonymous = permissions_of_anonymous()
        return None if anonymous is None else Grant(user=None, permissions=anonymous)
    ends = await request.session.aget_expiry_date()
    permissions = await asyncio.to_thread(permissions_of, user)  # it may ask the database
    return Grant(
        user=str(user.pk), permissions=permissions, expires_at=ends.timestamp(), token_id=token_id_of(key or "")
    )


def token_id_of(session_key: str) -> str:
    """Return the name that grants and tokens of a session have, which does not tell the session's key."""
    return f"session.{hashlib.sha256(session_key.encode()).hexdigest()[:32]}"
