"""`/healthz`, `/livez` and `/readyz`: for load balancers and orchestrators."""

from __future__ import annotations

from typing import Any

import msgspec

from trunkline.access.policy import ADMIN
from trunkline.errors import TrunklineError
from trunkline.transports.admission import admit
from trunkline.transports.context import Context
from trunkline.transports.exchange import Answer, Exchange


async def health(context: Context, request: Exchange) -> Answer:
    """Serve `/healthz`: whether this process serves; and for administrators, its counters."""
    answer: dict[str, Any] = {"status": "draining" if context.engine.is_draining else "ok"}
    try:
        await admit(context, request, ADMIN)
    except TrunklineError:
        pass
    else:
        answer |= context.statistics()
    return Answer(msgspec.json.encode(answer))


async def alive(_: Context, __: Exchange) -> Answer:
    """Serve `/livez`: this process answers. If it does not, it is to be restarted."""
    return Answer(msgspec.json.encode({"status": "ok"}))


async def ready(context: Context, _: Exchange) -> Answer:
    """Serve `/readyz`: whether clients should be sent here."""
    why = context.engine.unready
    return Answer(msgspec.json.encode({"status": why or "ok"}), 503 if why else 200)
