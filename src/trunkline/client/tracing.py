"""Spans of messages that are processed, by OpenTelemetry, if that is installed (the extra `otel`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

try:
    from opentelemetry import trace as otel
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError:
    otel = None  # type: ignore[assignment]


class Traced(Protocol):
    """A message: that of a client, or that of a hub."""

    @property
    def room(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def id(self) -> str: ...
    @property
    def traceparent(self) -> str | None: ...
    @property
    def tracestate(self) -> str | None: ...


M = TypeVar("M", bound=Traced)


@contextmanager
def process_span(message: Traced) -> Iterator[None]:
    """Record what is done with a message in a loop: `async for message in room: with process_span(message): …`.

    The span `process` is a child of the current one, if there is one, and links to the trace of the message. What is
    raised within it is recorded. Without OpenTelemetry, or a tracer provider, nothing happens.
    """
    if not _is_recorded():
        yield
        return
    with _span(message, None):
        yield


def traced(listener: Callable[[M], object]) -> Callable[[M], object]:
    """Return a listener whose every call has a span `process`.

    It begins a trace of its own: what was current when the client was started has nothing to do with the message.
    """
    if otel is None:
        return listener

    def call(message: M) -> object:
        if not _is_recorded():
            return listener(message)
        with _span(message, Context()):
            return listener(message)

    return call


def _is_recorded() -> bool:
    return otel is not None and not isinstance(otel.get_tracer_provider(), otel.ProxyTracerProvider)


@contextmanager
def _span(message: Traced, parent: Context | None) -> Iterator[None]:
    fields = {"traceparent": message.traceparent or "", "tracestate": message.tracestate or ""}
    published = otel.get_current_span(TraceContextTextMapPropagator().extract(fields)).get_span_context()
    attributes: dict[str, str | int] = {
        "messaging.system": "trunkline",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": message.room,
        "messaging.message.id": message.id,
        "messaging.trunkline.offset": message.offset,
    }
    links = [otel.Link(published)] if published.is_valid else []
    tracer = otel.get_tracer("trunkline.client")
    with tracer.start_as_current_span("process", parent, otel.SpanKind.CONSUMER, attributes, links):
        yield
