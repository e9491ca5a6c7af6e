"""Jobs of RQ, each of which is a process of its own."""

import os

from trunkline import Hub
from trunkline.backend import Backend

hub = Hub(os.environ["LOG"])
backend = Backend(os.environ["ROOMS"], secret=os.environ["SECRET"])


def by_hub(n: int) -> None:
    hub.publish_sync("by-hub", n, id=f"{n}")


def by_http(n: int) -> None:
    backend.publish("by-http", n, id=f"{n}")
