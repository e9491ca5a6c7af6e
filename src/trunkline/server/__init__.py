"""The server: uvicorn with our edge in front, workers, and TLS."""

from trunkline.server.app_server import AppServer, serve_app
from trunkline.server.protocols import Protocols
from trunkline.server.server import RoomsServer, build_hub, serve

__all__ = ["AppServer", "Protocols", "RoomsServer", "build_hub", "serve", "serve_app"]
