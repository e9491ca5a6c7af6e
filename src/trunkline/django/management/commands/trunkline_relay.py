"""`manage.py trunkline_relay`: publishes what `publish_later` has written."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from trunkline.django.outbox import relay


class Command(BaseCommand):
    """Publish what waits in the outbox."""

    help = "Publishes what publish_later has written, in the order of commits within each room."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--once", action="store_true", help="publish what waits now, and end")
        parser.add_argument("--database", help="the alias of the outbox's database")
        parser.add_argument("--poll", type=float, default=0.2, help="seconds between two looks, while nothing waits")

    def handle(self, *_: Any, **options: Any) -> None:
        running = relay(using=options["database"], poll_s=options["poll"])
        if options["once"]:
            try:
                while running.run_once():
                    pass
            except Exception as error:  # noqa: BLE001 - of the database, or of the server
                raise CommandError(f"the outbox waits: {type(error).__name__}: {error}") from None
        else:
            self._run(running.run, running.stop)
        self.stdout.write(f"{running.published} messages published, {running.refused} refused")

    def _run(self, run: Any, stop: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop())
        self.stdout.write("publishing what waits in the outbox; Ctrl-C ends it")
        run()
