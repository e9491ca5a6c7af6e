"""The pytest plugin, which an installed Trunkline brings: the fixture `hub`, and the mark `transports`.

It is loaded with every run of pytest, so it imports nothing of Trunkline until a test asks for it; and it is no module
of the package, whose import alone costs a third of a second.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import unittest
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trunkline.hub import Hub
    from trunkline.testing.blocking import BlockingHub
    from trunkline.testing.hub import TestHub

TRANSPORT = "trunkline_transport"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the settings."""
    parser.addini("trunkline_hub", "your hub, as module:attribute; by default the one in trunkline_app, else a new one")
    parser.addini("trunkline_app", "the ASGI application that the hub is used in, as module:attribute")


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    text = "transports(*names): run the test once over each of these transports; without names over all four"
    config.addinivalue_line("markers", text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests with the mark once over each transport."""
    test = metafunc.definition
    mark = test.get_closest_marker("transports")
    if mark is not None:
        if TRANSPORT not in metafunc.fixturenames:
            if mark not in test.own_markers:
                return  # it is that of the class or the module, where others have the fixture
            raise pytest.UsageError(f"{test.nodeid} has the mark `transports`, and no fixture `hub`")
        from trunkline.testing.hub import TRANSPORTS, check_transport  # noqa: PLC0415

        for name in mark.args:
            try:
                check_transport(name)
            except ValueError as error:
                raise pytest.UsageError(f"{test.nodeid}: {error}") from None
        metafunc.parametrize(TRANSPORT, mark.args or TRANSPORTS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse the mark where pytest cannot run a test several times."""
    for item in items:
        is_method = (
            isinstance(item, pytest.Function) and item.cls is not None and issubclass(item.cls, unittest.TestCase)
        )
        if is_method and item.get_closest_marker("transports") is not None:
            text = "has the mark `transports`, but a method of a TestCase runs once: make it a function"
            raise pytest.UsageError(f"{item.nodeid} {text}")


@pytest.fixture
def trunkline_transport() -> str:
    """The transport of readers that name none; the mark `transports` sets it."""
    return "websocket"


@pytest.fixture
def trunkline_hub(pytestconfig: pytest.Config) -> Hub | None:
    """The hub that is tested: override it, or set `trunkline_hub`, to give your application's."""
    found = _named(pytestconfig, "trunkline_hub")
    if found is not None and type(found).__name__ != "Hub":
        raise pytest.UsageError(f"trunkline_hub = {pytestconfig.getini('trunkline_hub')} is no Hub, but {found!r}")
    return found  # type: ignore[no-any-return]


@pytest.fixture
def trunkline_app(pytestconfig: pytest.Config) -> Any:
    """The ASGI application that the hub is used in: override it, or set `trunkline_app`, to give yours."""
    return _named(pytestconfig, "trunkline_app")


@pytest.fixture
def hub(trunkline_hub: Hub | None, trunkline_app: Any, trunkline_transport: str) -> Iterator[TestHub]:
    """A `trunkline.testing.TestHub`: your hub, or a new one, on a fresh log in memory, with the test's clock."""
    from trunkline.testing.hub import TestHub  # noqa: PLC0415

    test_hub = TestHub(trunkline_hub, trunkline_app, transport=trunkline_transport)
    yield test_hub
    test_hub.close_sync()


@pytest.fixture
def blocking_hub(hub: TestHub) -> BlockingHub:
    """The same for tests that are not coroutines: a `trunkline.testing.BlockingHub`."""
    from trunkline.testing.blocking import BlockingHub  # noqa: PLC0415

    return BlockingHub(hub)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Close the hubs of a coroutine's fixtures on its event loop, whichever plugin runs that: behind the test."""
    # Not by its class: that costs an import, which tests without a hub need not pay.
    hubs = [value for value in getattr(item, "funcargs", {}).values() if type(value).__name__ == "TestHub"]
    if hubs and inspect.iscoroutinefunction(getattr(item, "obj", None)):
        item.obj = _with_hubs(item.obj, hubs)  # type: ignore[attr-defined]
    return (yield)


def _with_hubs(test: Any, hubs: list[TestHub]) -> Any:
    @functools.wraps(test)
    async def run(*arguments: Any, **named: Any) -> Any:
        try:
            for test_hub in hubs:
                await test_hub.start()
            return await test(*arguments, **named)
        finally:
            for test_hub in hubs:
                await test_hub.close()

    return run


def _named(config: pytest.Config, setting: str) -> Any:
    """Return the object that a setting names; None if it names none."""
    text = config.getini(setting)
    if not text:
        return None
    module, colon, name = text.partition(":")
    try:
        if not colon:
            raise ValueError("it is module:attribute")
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"{setting} = {text}: {error}") from error
