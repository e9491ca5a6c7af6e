"""Where rooms are mounted in an application, and whether anything of it stands around them.

Rooms that nothing stands around are asked past the application. So whatever could be a guard counts as one: each kind
of route, application and middleware that is not known here to let a request through as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.routing import Mount, Route, Router, WebSocketRoute

from trunkline.hub import Hub

WRAPPED_MAX = 20  # applications around one another

# What FastAPI adds to Starlette changes nothing for a mount.
_PLAIN_APPLICATIONS = {Starlette, "fastapi.applications.FastAPI"}
_PLAIN_ROUTERS = {Router, "fastapi.routing.APIRouter"}
_ROUTES_BY_PATH = {Route, WebSocketRoute, Mount, "fastapi.routing.APIRoute", "fastapi.routing.APIWebSocketRoute"}


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
        return [Mounted(hub, "", is_bare=_is_as_made(hub))]
    return list(_search(_routes(app), "", is_bare=_is_plain(app)))


def routes_of(mounted: Mounted, app: Any) -> list[Any]:
    """Return all routes by which rooms were found, so that it can be seen whether some were added since."""
    return [*_routes(app), *mounted.hub.app.router.routes]


def _search(routes: Iterable[Any], before: str, *, is_bare: bool) -> Iterable[Mounted]:
    earlier: list[Any] = []
    for route in routes:
        if isinstance(route, Mount):
            path = before + route.path
            hub = _hub_of(getattr(route, "_base_app", route.app))
            if hub is not None:
                alone = is_bare and type(route) is Mount and route.app is hub.app and not before and "{" not in path
                alone = alone and _is_as_made(hub) and not any(_may_take(other, path) for other in earlier)
                yield Mounted(hub, path, is_bare=alone)
            else:
                yield from _search(route.routes or (), path, is_bare=False)
        earlier.append(route)


def _is_plain(app: Any) -> bool:
    """Return whether an application lets a request through to its routes as it is."""
    return (
        _is_one_of(app, _PLAIN_APPLICATIONS)
        and _is_one_of(app.router, _PLAIN_ROUTERS)
        and not app.user_middleware
        and app.middleware_stack is None  # which is made of these when the application is started
        and "build_middleware_stack" not in vars(app)
        and app.router.middleware_stack == app.router.app
        and not getattr(app, "root_path", "")
    )


def _is_as_made(hub: Hub) -> bool:
    """Return whether a hub's own application has the middleware and the routes that the hub gave it, and no others."""
    app = hub.app
    return (
        type(app) is Starlette
        and app.middleware_stack is None
        and "build_middleware_stack" not in vars(app)
        and app.router.middleware_stack == app.router.app
        and app.state.made == (app.router, app.user_middleware, app.router.routes)
    )


def _may_take(route: Any, path: str) -> bool:
    """Return whether a route that stands earlier could match what is under *path*."""
    if not _is_one_of(route, _ROUTES_BY_PATH):
        return True  # one that goes by the host, or by what we do not know
    own: str = route.path
    begin, parameter, _ = own.partition("{")
    if parameter or isinstance(route, Mount):
        return path.startswith(begin) or begin.startswith(path)
    return begin == path or begin.startswith(f"{path}/")


def _is_one_of(found: Any, kinds: set[Any]) -> bool:
    kind = type(found)
    return kind in kinds or f"{kind.__module__}.{kind.__qualname__}" in kinds


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
