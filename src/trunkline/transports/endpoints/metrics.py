"""`/metrics`: for Prometheus, and whatever else reads its formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trunkline.access.policy import ADMIN
from trunkline.admin.exposition import Of, expose
from trunkline.admin.figures import Labels
from trunkline.transports.admission import admit
from trunkline.transports.context import Context
from trunkline.transports.exchange import Answer, Exchange


async def scrape(context: Context, request: Exchange) -> Answer:
    """Serve `GET /metrics` to administrators: the metrics of this process and, with workers, of all of them."""
    await admit(context, request, ADMIN)
    return metrics_of({"": context}, request)


def metrics_of(rooms: Mapping[str, Context], request: Exchange) -> Answer:
    """Return the metrics of several hubs, which are told apart by the label `rooms`, or of one, without it."""
    accept = request.head.headers.get(b"accept", b"").decode("latin-1")
    body, media_type = expose(_processes(rooms), accept)
    return Answer(body, media_type=media_type)


def _processes(rooms: Mapping[str, Context]) -> Iterator[Of]:
    for path, context in rooms.items():
        of_rooms: Labels = (("rooms", path or "/"),) if len(rooms) > 1 else ()
        for worker, families in context.figures.of_workers().items():
            of_worker: Labels = (("worker", worker),) if worker else ()
            yield (*of_rooms, *of_worker), families
