"""Rooms in an application that has nothing around them."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from trunkline import Hub

hub = Hub(os.environ["STORE"])


async def refuse(_: Request) -> Response:
    return PlainTextResponse("not you", 403)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    if os.environ.get("GUARDS"):  # what a plug-in may do when an application starts
        app.router.routes.insert(0, Route("/realtime/rooms/{room}", refuse, methods=["GET", "POST"]))
    async with hub.lifespan():
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/realtime", hub.app)


@app.get("/pid")
def pid() -> int:
    return os.getpid()
