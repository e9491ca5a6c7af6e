"""A chat under paths of its own, as an application that embeds the rooms.

    uvicorn examples.chat.app:app --port 8001     (from the top of the repository)

Clients that were written for such a chat before there was a Trunkline work with it unchanged:

    new WebSocket("ws://localhost:8001/chat")        {type: "join", room}, {type: "message", text}
    new WebSocket("ws://localhost:8001/ws?token=…")  the same
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

hub = Hub(os.environ.get("CHAT_STORE", "sqlite:///example.db"))
ROOM = "general"
EARLIEST_TIME_MS = 10**12  # September 2001


async def messages(request: Request) -> Response:
    """The messages after `since` as a plain array; where to go on, and whether anything is gone, are headers.

    `since` is an offset or a position. Clients of such chats also send the time of the last message they have, in
    milliseconds; no room has that many messages, so the two cannot be mistaken for each other.
    """
    since = request.query_params.get("since") or "start"
    if since.isdecimal() and int(since[:16]) >= EARLIEST_TIME_MS:
        page = await hub.page(ROOM, last=1000, limit=1000)
        return Response(
            msgspec.json.encode([message for message in page.messages if message.at > int(since[:16])]),
            headers={"Cache-Control": "no-store"},
            media_type="application/json",
        )
    page = await hub.page(ROOM, since=since, limit=1000)
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
    exception_handlers=hub.exception_handlers,  # a bad `since` is a 400 with a code
    lifespan=hub.lifespan,
)
