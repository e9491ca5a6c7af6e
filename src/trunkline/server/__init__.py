"""The server: uvicorn with our edge in front, workers, and TLS."""

from trunkline.server.server import RoomsServer, build_hub, serve

__all__ = ["RoomsServer", "build_hub", "serve"]
