"""`manage.py runserver`, with the rooms: Django's own command, on an ASGI server."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn
from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.utils.module_loading import import_string

from trunkline.django.asgi import with_rooms
from trunkline.django.conf import get_settings
from trunkline.server import Protocols

if apps.is_installed("django.contrib.staticfiles"):
    from django.contrib.staticfiles.management.commands.runserver import Command as RunserverCommand
else:
    from django.core.management.commands.runserver import Command as RunserverCommand


class AsgiServer:
    """uvicorn, with the face of Django's development server."""

    def __init__(self, server_address: tuple[str, int], _: type, *, ipv6: bool = False) -> None:
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(server_address)
        self.server_port = self._listener.getsockname()[1]
        self._app: Any = None

    def set_app(self, app: Any) -> None:
        """Serve this."""
        self._app = app

    def serve_forever(self) -> None:
        """Serve until the process ends."""
        protocols = Protocols()
        http: Any = protocols.http  # a callable that makes protocols: what uvicorn asks of a class
        config = uvicorn.Config(self._app, http=http, ws=protocols.ws, log_level="warning", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[self._listener])


class Command(RunserverCommand):
    """Start the development server, with the rooms."""

    def get_handler(self, *arguments: Any, **options: Any) -> Any:
        """Return the ASGI application of the site, with rooms in this process; else the site as Django serves it."""
        if get_settings().store is None:
            return super().get_handler(*arguments, **options)
        self.server_cls = AsgiServer
        name = getattr(settings, "ASGI_APPLICATION", None)
        if name is not None:
            return import_string(name)
        site = get_asgi_application()
        serves_static = options.get("use_static_handler", True) and (settings.DEBUG or options.get("insecure_serving"))
        if serves_static and apps.is_installed("django.contrib.staticfiles"):
            site = ASGIStaticFilesHandler(site)
        return with_rooms(site)
