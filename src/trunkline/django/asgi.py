"""A Django site and its rooms as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from trunkline.django.conf import get_settings
from trunkline.django.logout import watched
from trunkline.django.rooms import get_hub


def with_rooms(application: Any) -> Starlette:
    """Return an ASGI application: the rooms under the setting `PATH`, and the site everywhere else.

    `application = with_rooms(get_asgi_application())`; run it by `trunkline run` or any ASGI server.

    Args:
        application: The site, as Django's `get_asgi_application()` returns it.

    Raises:
        ImproperlyConfigured: The rooms are on a server beside this site, or a setting cannot be used.
    """
    hub = get_hub()

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with hub.lifespan(), watched(hub):
            yield

    routes = [Mount(get_settings().path.rstrip("/"), hub.app), Mount("/", application)]
    return Starlette(routes=routes, lifespan=lifespan)
