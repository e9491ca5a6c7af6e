"""Where rooms are mounted, and whether anything stands around them."""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Host, Mount, Route

from trunkline import Hub
from trunkline.server.mounts import find_mounts


def endpoint(_: Any) -> None:
    """Answer nothing."""


def seen(app: Any) -> list[tuple[str, bool]]:
    return [(mounted.path, mounted.is_bare) for mounted in find_mounts(app)]


def test_rooms_alone_are_bare() -> None:
    assert seen(Hub("memory:").app) == [("", True)]


def test_rooms_in_an_application_without_anything_around_them_are_bare() -> None:
    app = FastAPI()
    app.mount("/realtime", Hub("memory:").app)
    assert seen(app) == [("/realtime", True)]


@pytest.mark.parametrize("route", ["/{path:path}", "/realtime/rooms/mine", "/real{name}", "/{name}/rooms/x"])
def test_rooms_behind_a_route_that_could_take_their_requests_are_not(route: str) -> None:
    app = Starlette(routes=[Route(route, endpoint), Mount("/realtime", Hub("memory:").app)])
    assert seen(app) == [("/realtime", False)]


@pytest.mark.parametrize("route", ["/hello", "/users/{name}", "/live"])
def test_other_routes_are_not_in_the_way(route: str) -> None:
    app = Starlette(routes=[Route(route, endpoint), Mount("/realtime", Hub("memory:").app)])
    assert seen(app) == [("/realtime", True)]


def test_a_host_of_its_own_stands_before_rooms() -> None:
    app = Starlette(routes=[Host("api.example.com", Starlette()), Mount("/realtime", Hub("memory:").app)])
    assert seen(app) == [("/realtime", False)]


def test_a_path_with_parameters_is_not_known_beforehand() -> None:
    assert seen(Starlette(routes=[Mount("/{tenant}/realtime", Hub("memory:").app)])) == [("/{tenant}/realtime", False)]


def test_middleware_stands_around_rooms() -> None:
    routes = [Mount("/realtime", Hub("memory:").app)]
    assert seen(Starlette(routes=routes, middleware=[Middleware(GZipMiddleware)])) == [("/realtime", False)]
    assert seen(GZipMiddleware(Starlette(routes=routes))) == [("/realtime", False)]
    mount = Mount("/realtime", Hub("memory:").app, middleware=[Middleware(GZipMiddleware)])
    assert seen(Starlette(routes=[mount])) == [("/realtime", False)]


def test_an_outer_mount_stands_around_rooms() -> None:
    app = Starlette(routes=[Mount("/api", Starlette(routes=[Mount("/rt", Hub("memory:").app)]))])
    assert seen(app) == [("/api/rt", False)]


def test_a_prefix_that_a_proxy_takes_off_stands_before_rooms() -> None:
    app = FastAPI()
    app.root_path = "/api"
    app.mount("/realtime", Hub("memory:").app)
    assert seen(app) == [("/realtime", False)]


def test_an_application_without_rooms_has_none() -> None:
    assert seen(FastAPI()) == []
    assert seen(object()) == []
