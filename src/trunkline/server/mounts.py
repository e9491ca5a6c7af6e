"""Where rooms are mounted in an application, and whether anything of it stands around them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.routing import Mount

from trunkline.hub import Hub

WRAPPED_MAX = 20  # applications around one another


class Mounted(NamedTuple):
    """Rooms, and the path that they are under.

    Attributes:
        is_bare: Whether a request for them meets nothing else of the application on its way: no middleware, no route
            that could take it, no prefix of a proxy.
    """

    hub: Hub
    path: str
    is_bare: bool


def find_mounts(app: Any) -> list[Mounted]:
    """Return the rooms of a Starlette or FastAPI application, as far as its routes show them."""
    if (hub := _hub_of(app)) is not None:
        return [Mounted(hub, "", is_bare=True)]
    is_bare = isinstance(app, Starlette) and not app.user_middleware and not getattr(app, "root_path", "")
    return list(_search(_routes(app), "", is_bare=is_bare))


def _search(routes: Iterable[Any], before: str, *, is_bare: bool) -> Iterable[Mounted]:
    earlier: list[Any] = []
    for route in routes:
        if isinstance(route, Mount):
            path = before + route.path
            hub = _hub_of(getattr(route, "_base_app", route.app))
            if hub is not None:
                alone = hub.app is route.app and not before and "{" not in path
                alone = alone and not any(_may_take(other, path) for other in earlier)
                yield Mounted(hub, path, is_bare=is_bare and alone)
            else:
                yield from _search(route.routes or (), path, is_bare=False)
        earlier.append(route)


def _may_take(route: Any, path: str) -> bool:
    """Return whether a route that stands earlier could match what is under *path*."""
    own = getattr(route, "path", None)
    if own is None:  # one that goes by the host, or by what we do not know
        return True
    begin = own.partition("{")[0]
    return path.startswith(begin) if "{" in own or isinstance(route, Mount) else own.startswith(path)


def _hub_of(app: Any) -> Hub | None:
    hub = getattr(getattr(app, "state", None), "hub", None)
    return hub if isinstance(hub, Hub) and hub.app is app else None


def _routes(app: Any) -> Iterable[Any]:
    """Return the routes of an application, or of the one that is wrapped in middleware."""
    for _ in range(WRAPPED_MAX):
        if hasattr(app, "routes"):
            routes: Iterable[Any] = app.routes
            return routes
        app = getattr(app, "app", None)
    return ()
