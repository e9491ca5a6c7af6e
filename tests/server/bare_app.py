"""Rooms in an application that has nothing around them."""

import os

from fastapi import FastAPI

from trunkline import Hub

hub = Hub(os.environ["STORE"])
app = FastAPI(lifespan=hub.lifespan)
app.mount("/realtime", hub.app)


@app.get("/pid")
def pid() -> int:
    return os.getpid()
