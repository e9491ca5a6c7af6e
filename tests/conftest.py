"""Fixtures of the whole suite."""

import logging
from collections.abc import AsyncIterator, Iterator

import aiohttp
import opentelemetry.trace
import pytest
from hypothesis import settings
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from .support import client

settings.register_profile("trunkline", deadline=None, max_examples=150)
settings.load_profile("trunkline")


@pytest.fixture(scope="session", autouse=True)
def failures_asked_for() -> Iterator[None]:
    """A failure that nobody asked for is said whenever the garbage collector finds it, in any test: say it as ours."""
    forgotten: list[str] = []

    def note(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "never retrieved" not in message:
            return True
        if "/src/trunkline/" in message or "/tests/" in message:  # and not of a library that was cut off
            forgotten.append(message)
        return False  # Python parses source code to show it, and may be called while it does so

    logging.getLogger("asyncio").addFilter(note)
    yield
    assert not forgotten


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without limits of its own."""
    async with client() as session:
        yield session


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans that have ended, as OpenTelemetry's SDK records them; only in this test is there a tracer provider."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(opentelemetry.trace, "_TRACER_PROVIDER", provider)
    return exporter
