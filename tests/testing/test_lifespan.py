"""Applications with every kind of lifespan."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette

from trunkline.testing.lifespan import Lifespan


async def test_startup_state_and_shutdown() -> None:
    said: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        said.append("up")
        yield {"pool": 7}
        said.append("down")

    run = Lifespan(Starlette(lifespan=lifespan))
    await run.start()
    assert (said, run.state) == (["up"], {"pool": 7})
    await run.stop()
    assert said == ["up", "down"]


async def test_an_application_without_one() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError(scope["type"])

    run = Lifespan(app)
    await run.start()
    await run.stop()


async def test_failures_are_the_tests() -> None:
    @asynccontextmanager
    async def fails(_: Any) -> AsyncIterator[None]:
        raise ZeroDivisionError("no database")
        yield

    with pytest.raises(RuntimeError, match="did not start.*no database|no database"):
        await Lifespan(Starlette(lifespan=fails)).start()

    @asynccontextmanager
    async def fails_late(_: Any) -> AsyncIterator[None]:
        yield
        raise ZeroDivisionError("nothing to close")

    run = Lifespan(Starlette(lifespan=fails_late))
    await run.start()
    with pytest.raises(RuntimeError, match="nothing to close"):
        await run.stop()


async def test_stopping_what_was_not_started() -> None:
    await Lifespan(Starlette()).stop()
