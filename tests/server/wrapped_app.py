"""Rooms in an application with middleware: one that refuses, one that sets a session, one that adds a header."""

import os
from collections.abc import MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from trunkline import Credentials, Grant, Hub

hub = Hub(os.environ["STORE"])
app = FastAPI(lifespan=hub.lifespan)


class Refusing:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and dict(scope["headers"]).get(b"x-who") == b"eve":
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(PlainTextResponse("not you", 403))
            else:
                await PlainTextResponse("not you", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Adding:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            scope["session"]["seen"] = scope["session"].get("seen", 0) + 1

        async def add(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                headers = [*message.get("headers", []), (b"x-added", b"yes")]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, add)


@app.get("/count")
def count(request: Request) -> MutableMapping[str, Any]:
    return request.session


if os.environ.get("COMPRESSES"):
    app.add_middleware(GZipMiddleware, minimum_size=1)
app.add_middleware(Adding)
app.add_middleware(SessionMiddleware, secret_key="k" * 32)
app.add_middleware(Refusing)


if os.environ.get("BUFFERS"):

    @app.middleware("http")
    async def pass_on(request: Request, call_next: Any) -> Any:
        return await call_next(request)


if os.environ.get("NAMES"):

    @hub.authenticate
    async def by_header(brought: Credentials) -> Grant | None:
        name = brought.head.headers.get(b"x-who")
        return None if name is None else Grant(user=name.decode())


@app.get("/statistics")
def statistics() -> dict[str, Any]:
    return hub.statistics()


app.mount("/realtime", hub.app)
