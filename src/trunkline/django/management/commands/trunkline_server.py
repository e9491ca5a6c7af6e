"""`manage.py trunkline_server`: the server beside a site that has `TRUNKLINE = {"URL": …}`."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError

from trunkline.beside import serve_beside
from trunkline.django.conf import get_settings
from trunkline.errors import ConfigError


class Command(BaseCommand):
    """Serve the rooms beside this site, with its secret."""

    help = "Serves the rooms beside this site, with its secret: for TRUNKLINE = {'URL': …}."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--host", help="address to listen on; by default that of URL")
        parser.add_argument("--port", type=int, help="port to listen on; by default that of URL")
        parser.add_argument("--store", default="sqlite:///trunkline.db", help="the log: sqlite:///PATH or redis://HOST")

    def handle(self, *_: Any, **options: Any) -> None:
        found = get_settings()
        if found.url is None:
            raise CommandError("TRUNKLINE has a STORE: the rooms are in the site's own process, and need no server")
        address = urlsplit(found.url)
        try:
            serve_beside(
                found.key,
                lambda url, data: self.stdout.write(f"Trunkline on {url}, data in {data}"),
                host=options["host"] or address.hostname or "127.0.0.1",
                port=options["port"] or address.port or 8001,
                store=options["store"],
                origins=found.origins,
            )
        except ConfigError as error:
            raise CommandError(str(error)) from None
