"""The server: uvicorn with our edge in front, workers, and TLS."""

from trunkline.server.server import Server, build_hub, serve

__all__ = ["Server", "build_hub", "serve"]
