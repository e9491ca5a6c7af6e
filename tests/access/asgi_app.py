"""The rooms with tokens as a plain ASGI application, set like tests/access/conftest.py sets our own server."""

import os

from tests.access.support import COOKIE, ORIGIN, SECRET
from trunkline import Hub, Issuer, JwtAuth, Limits

app = Hub(
    os.environ["STORE"],
    auth=JwtAuth([Issuer(secret=SECRET)]),
    cookie=COOKIE,
    origins=[ORIGIN],
    limits=Limits(auth_s=1.0),
).app
