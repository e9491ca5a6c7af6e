"""An application that mounts the rooms under a path."""

from starlette.applications import Starlette
from starlette.routing import Mount

from trunkline import Hub

hub = Hub("memory:")
app = Starlette(routes=[Mount("/realtime", hub.app)], lifespan=hub.lifespan)
