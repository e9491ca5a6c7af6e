"""Tasks of Celery, whose workers are forked."""

import os

from celery import Celery

from trunkline import Hub
from trunkline.backend import Backend

app = Celery("tasks", broker=os.environ["BROKER"])
app.conf.broker_connection_retry_on_startup = True
hub = Hub(os.environ["LOG"])  # made before the fork, and used after it
backend = Backend(os.environ["ROOMS"], secret=os.environ["SECRET"])


@app.task
def by_hub(n: int) -> None:
    hub.publish_sync("by-hub", n, id=f"{n}")


@app.task
def by_http(n: int) -> None:
    backend.publish("by-http", n, id=f"{n}")
