"""The rooms as a plain ASGI application, for servers that are not ours."""

import os

from starlette.responses import JSONResponse
from starlette.routing import Route

from trunkline import Hub, Retention

hub = Hub(os.environ["STORE"], retention=Retention(messages_max=100))
app = hub.app
app.router.routes.append(Route("/statistics", lambda _: JSONResponse(hub.statistics())))
