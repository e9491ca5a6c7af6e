"""Receivers of webhooks and hooks: HTTP servers that answer what a test wants."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook as Verifier

from trunkline.core.webhook import new_secret

SECRET = new_secret(os.urandom(32))
LOCAL = ("127.0.0.0/8", "::1")

Answering = Callable[[dict[str, Any], web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """What was received, each body verified.

    Attributes:
        ids: The `webhook-id` of each request.
        bodies: Their bodies.
    """

    def __init__(self) -> None:
        self.url = ""
        self.ids: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.statuses: list[int] = []  # to answer with, one after the other; then 204

    @property
    def messages(self) -> list[Any]:
        return [entry for body in self.bodies for entry in body["data"].get("messages", [])]

    @property
    def data(self) -> list[Any]:
        return [entry["message"]["data"] for entry in self.messages]

    @property
    def gaps(self) -> list[Any]:
        return [gap for body in self.bodies for gap in body["data"].get("gaps", [])]


@asynccontextmanager
async def receiving(answer: Answering | None = None) -> AsyncIterator[Receiver]:
    """A server whose requests are verified; *answer* answers those that are not to be answered with a status."""
    receiver = Receiver()

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        content = Verifier(SECRET).verify(body, dict(request.headers))
        status = receiver.statuses.pop(0) if receiver.statuses else 204
        receiver.ids.append(request.headers["webhook-id"])
        if answer is not None:
            receiver.bodies.append(content)
            return await answer(content, request)
        if status < 300:
            receiver.bodies.append(content)
        return web.Response(status=status)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()
