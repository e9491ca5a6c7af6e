"""A chat under paths of its own, as an application that embeds the rooms.

    uvicorn examples.chat.app:app

Clients that were written for such a chat before there was a Trunkline work with it unchanged:

    new WebSocket("ws://localhost:8000/chat")        {type: "join", room}, {type: "message", text}
    new WebSocket("ws://localhost:8000/ws?token=…")  the same
    new EventSource("/api/live-updates")             onmessage
    fetch("/api/messages?since=…")                   an array, empty if there is nothing new
"""

import os

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute

from trunkline import Hub
from trunkline.core.position import parse_since

hub = Hub(os.environ.get("CHAT_STORE", "sqlite:///chat.db"))
ROOM = "general"


async def messages(request: Request) -> Response:
    """The messages after `since` as a plain array; where to go on, and whether anything is gone, are headers."""
    page = await hub.page(ROOM, parse_since(request.query_params.get("since") or "start"), limit=1000)
    headers = {"Cache-Control": "no-store", "Trunkline-Next": page.next}
    if page.gap is not None:
        headers["Trunkline-Gap"] = f"{page.gap.first}-{page.gap.last}"
    return Response(msgspec.json.encode(page.messages), headers=headers, media_type="application/json")


app = Starlette(
    routes=[
        WebSocketRoute("/chat", hub.websocket),
        WebSocketRoute("/ws", hub.websocket),
        Route("/api/live-updates", hub.endpoint(ROOM)),
        Route("/api/messages", messages, methods=["GET"]),
        Mount("/", hub.app),
    ],
    lifespan=hub.app.router.lifespan_context,
)
