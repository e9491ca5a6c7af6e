"""Where rooms are mounted, and whether anything stands around them."""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute, Host, Match, Mount, Route

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


@pytest.mark.parametrize(
    "route",
    [
        "/{path:path}", "/realtime", "/realtime/rooms/mine", "/realtime/rooms/{room}", "/real{name}", "/{name}/rooms/x",
    ],
)  # fmt: skip
def test_rooms_behind_a_route_that_could_take_their_requests_are_not(route: str) -> None:
    app = Starlette(routes=[Route(route, endpoint), Mount("/realtime", Hub("memory:").app)])
    assert seen(app) == [("/realtime", False)]


@pytest.mark.parametrize("path", ["/realtime/rooms", "/real", ""])
def test_rooms_behind_a_mount_that_could_take_their_requests_are_not(path: str) -> None:
    app = Starlette(routes=[Mount(path, Starlette()), Mount("/realtime", Hub("memory:").app)])
    assert seen(app) == [("/realtime", False)]


class AnyRoute(BaseRoute):
    def matches(self, scope: Any) -> tuple[Match, dict[str, Any]]:
        return Match.FULL, {}


class OwnRoute(Route):
    pass


@pytest.mark.parametrize("route", [AnyRoute(), OwnRoute("/other", endpoint)])
def test_a_route_of_an_unknown_kind_could_take_everything(route: BaseRoute) -> None:
    assert seen(Starlette(routes=[route, Mount("/realtime", Hub("memory:").app)])) == [("/realtime", False)]


class OwnApplication(Starlette):
    async def __call__(self, *_: Any) -> None:
        """Let nobody in."""


class OwnFastAPI(FastAPI):
    def build_middleware_stack(self) -> Any:
        return super().build_middleware_stack()


class OwnMount(Mount):
    pass


def test_an_application_of_an_unknown_kind_stands_around_rooms() -> None:
    routes = [Mount("/realtime", Hub("memory:").app)]
    assert seen(OwnApplication(routes=routes)) == [("/realtime", False)]
    app = OwnFastAPI()
    app.mount("/realtime", Hub("memory:").app)
    assert seen(app) == [("/realtime", False)]
    assert seen(Starlette(routes=[OwnMount("/realtime", Hub("memory:").app)])) == [("/realtime", False)]


def test_what_was_put_in_the_way_afterwards_stands_around_rooms() -> None:
    def patched() -> Starlette:
        return Starlette(routes=[Mount("/realtime", Hub("memory:").app)])

    first, second = patched(), patched()
    first.middleware_stack = GZipMiddleware(first.router)
    second.router.middleware_stack = GZipMiddleware(second.router)
    third = patched()
    third.build_middleware_stack = lambda: GZipMiddleware(third.router)  # type: ignore[method-assign]
    assert [seen(app) for app in (first, second, third)] == [[("/realtime", False)]] * 3


def test_rooms_whose_own_application_was_changed_are_not_bare() -> None:
    guarded, routed = Hub("memory:"), Hub("memory:")
    guarded.app.add_middleware(GZipMiddleware)
    routed.app.router.routes.insert(0, Route("/rooms/general", endpoint))
    for hub in (guarded, routed):
        assert seen(hub.app) == [("", False)]
        assert seen(Starlette(routes=[Mount("/realtime", hub.app)])) == [("/realtime", False)]


@pytest.mark.parametrize("route", ["/hello", "/users/{name}", "/live", "/realtimes"])
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
