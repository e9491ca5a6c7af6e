"""An application with the middleware that ODD names, and endpoints that take their time."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from trunkline import Hub

hub = Hub("memory:")


class Wrapping:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            await self.pass_on(message, send)

        await self.app(scope, receive, sent if scope["type"] != "lifespan" else send)

    async def pass_on(self, message: Message, send: Send) -> None:
        await send(message)


class Buffering(BaseHTTPMiddleware):
    """Waits for the whole of a body, which a stream never has."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        answer = await call_next(request)
        if "events" not in request.headers.get("accept", ""):
            return answer  # type: ignore[no-any-return]
        return Response(b"".join([piece async for piece in answer.body_iterator]))


class Swallowing(Wrapping):
    """Lets no body through."""

    async def pass_on(self, message: Message, send: Send) -> None:
        if message["type"] != "http.response.body" or not message.get("more_body"):
            await send(message)


class Greeting(Wrapping):
    """Says something by itself behind the handshake."""

    async def pass_on(self, message: Message, send: Send) -> None:
        await send(message)
        if message["type"] == "websocket.accept":
            await send({"type": "websocket.send", "text": '{"type":"greeting"}'})


class FailingAfterwards(Wrapping):
    """Fails when the application has done its part."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)
        if scope["type"] != "lifespan":
            raise RuntimeError("could not commit")


class Redacting(Wrapping):
    """Changes what events say."""

    async def pass_on(self, message: Message, send: Send) -> None:
        if message.get("body"):
            message = {**message, "body": message["body"].replace(b"secret", b"******")}
        if message.get("text"):
            message = {**message, "text": message["text"].replace("secret", "******")}
        await send(message)


class Slow(Wrapping):
    """Lets nothing into a room before somebody has asked for /let-in."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.may_enter = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"] == "/let-in":
            self.may_enter.set()
        elif scope["type"] != "lifespan" and "/realtime/rooms/slow" in scope["path"]:
            await self.may_enter.wait()
        await self.app(scope, receive, send)


async def upload(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def download(_: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    return StreamingResponse(pieces())


async def slow(request: Request) -> Response:
    await request.body()
    return PlainTextResponse("done")


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.receive()


odd: Any = globals()[os.environ.get("ODD", "Wrapping")]
app = Starlette(
    routes=[
        Route("/upload", upload, methods=["POST"]),
        Route("/download", download),
        Route("/slow", slow, methods=["POST"]),
        Route("/statistics", lambda _: JSONResponse(hub.statistics())),
        WebSocketRoute("/echo", echo),
        Mount("/realtime", hub.app),
    ],
    lifespan=hub.lifespan,
    middleware=[Middleware(odd)],
)
