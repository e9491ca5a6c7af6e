"""The rooms with tokens as a plain ASGI application, set like tests/access/conftest.py sets our own server."""

import os

from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.access.support import COOKIE, ORIGIN, SECRET
from trunkline import Hub, Issuer, JwtAuth, Limits

hub = Hub(
    os.environ["STORE"],
    auth=JwtAuth([Issuer(secret=SECRET)]),
    cookie=COOKIE,
    origins=[ORIGIN],
    limits=Limits(auth_s=1.0),
)
app = hub.app
app.router.routes.append(Route("/statistics", lambda _: JSONResponse(hub.statistics())))
