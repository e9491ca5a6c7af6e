"""Spans of what is published, by OpenTelemetry: what the extra `otel` adds. Nothing else of the server knows of spans.

A span `publish` lasts from when a message is taken until the log has it, or it is refused. Its parent is the trace that
the message brought, else the current context: that of an application that calls the hub. A message that brought none
is stored with the context of its span, so that those who read it can link to it.
"""

from __future__ import annotations

import msgspec
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from trunkline.core.message import Draft, Receipt
from trunkline.core.trace import Trace, parse_trace, trace_fields
from trunkline.engine.appender import Answer
from trunkline.errors import TrunklineError

_propagator = TraceContextTextMapPropagator()


class PublishSpans:
    """The spans of one process, by the global tracer provider."""

    def __init__(self) -> None:
        self._tracer: otel.Tracer | None = None  # until the application has set a provider

    def look(self) -> bool:
        """Return whether there is a tracer provider. Called once a second: asking costs as much as a publish."""
        if self._tracer is None:
            tracer = otel.get_tracer("trunkline")
            if not isinstance(tracer, otel.ProxyTracer | otel.NoOpTracer):
                self._tracer = tracer
        return self._tracer is not None

    def begin(self, draft: Draft, answer: Answer) -> tuple[Draft, Answer]:
        """Begin the span of a draft; return the draft as it is to be stored, and what is called with its answer."""
        span = self._start(draft.room, draft.trace)
        if span is None:
            return draft, answer
        if draft.trace is None:
            draft = msgspec.structs.replace(draft, trace=_trace_of(span))

        def answered(draft: Draft, receipt: Receipt | None, error: TrunklineError | None) -> None:
            if receipt is not None:
                span.set_attribute("messaging.message.id", receipt.id)
                span.set_attribute("messaging.trunkline.offset", receipt.offset)
                span.set_attribute("messaging.trunkline.duplicate", receipt.duplicate)
                span.end()
            elif error is not None:
                _end_refused(span, draft.id, error)
            answer(draft, receipt, error)

        return draft, answered

    def refused(self, room: str, message_id: str | None, trace: Trace | None, error: TrunklineError) -> None:
        """Record that a message was refused before it became a draft."""
        span = self._start(room, trace)
        if span is not None:
            _end_refused(span, message_id, error)

    def _start(self, room: str, trace: Trace | None) -> otel.Span | None:
        """Return the span of a message; None if it is not recorded."""
        if self._tracer is None:
            return None
        attributes = {
            "messaging.system": "trunkline",
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.destination.name": room,
        }
        parent = None if trace is None else _parent_of(trace)
        span = self._tracer.start_span("publish", parent, otel.SpanKind.PRODUCER, attributes)
        return span if span.is_recording() else None


def _parent_of(trace: Trace) -> Context | None:
    """Return the context of a trace; None for the current one, if that is of the same trace.

    An instrumentation of the application's server may have taken the same headers up: its span is nearer.
    """
    brought = _propagator.extract(trace_fields(trace))
    current = otel.get_current_span().get_span_context().trace_id
    return None if otel.get_current_span(brought).get_span_context().trace_id == current else brought


def _trace_of(span: otel.Span) -> Trace | None:
    fields: dict[str, str] = {}
    _propagator.inject(fields, otel.set_span_in_context(span))
    return parse_trace(fields.get("traceparent"), fields.get("tracestate"))


def _end_refused(span: otel.Span, message_id: str | None, error: TrunklineError) -> None:
    if message_id is not None:
        span.set_attribute("messaging.message.id", message_id)
    span.set_attribute("error.type", error.code)
    span.set_status(otel.StatusCode.ERROR, str(error))
    span.end()
