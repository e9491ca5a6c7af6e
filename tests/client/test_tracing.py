"""Spans of messages that are processed: as OpenTelemetry's own SDK records them."""

from __future__ import annotations

import opentelemetry.trace
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from trunkline import Hub
from trunkline.client import Message, Room, connect, process_span
from trunkline.testing.hub import TestHub

TRACE_ID, SPAN_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
PARENT = f"00-{TRACE_ID:032x}-{SPAN_ID:016x}-01"


def tracer() -> opentelemetry.trace.Tracer:
    return opentelemetry.trace.get_tracer("an application")


def told(room: Room, offset: int, **trace: str) -> None:
    message = {"type": "message", "room": "r", "offset": offset, "id": f"m{offset}", "from": None, "at": 1, "data": 1}
    room.receive(message | trace)


def links_of(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


async def test_a_listener(spans: InMemorySpanExporter) -> None:
    """Each call has a span, the root of a trace of its own, whatever is current around the client."""
    room = connect("http://localhost:9").room("r")

    def listener(_: Message) -> None:
        with tracer().start_as_current_span("inner"):
            pass

    stop = room.on("message", listener)
    with tracer().start_as_current_span("around"):
        told(room, 1, traceparent=PARENT, tracestate="a=1")
    told(room, 2)
    stop()
    told(room, 3)
    inner, first, _, _, second = spans.get_finished_spans()
    assert (first.name, first.kind, first.parent) == ("process", SpanKind.CONSUMER, None)
    assert first.attributes == {
        "messaging.system": "trunkline",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "r",
        "messaging.message.id": "m1",
        "messaging.trunkline.offset": 1,
    }
    assert links_of(first) == [(TRACE_ID, SPAN_ID)]
    assert first.links[0].context.trace_state.to_header() == "a=1"
    assert inner.parent is not None
    assert inner.parent.span_id == first.context.span_id
    assert (second.name, links_of(second)) == ("process", [])


async def test_a_listener_that_fails(spans: InMemorySpanExporter) -> None:
    room = connect("http://localhost:9").room("r")

    def fail(_: Message) -> None:
        raise ValueError("no")

    room.on("message", fail)
    told(room, 1)
    [span] = spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: no")


async def test_a_loop(spans: InMemorySpanExporter) -> None:
    """Of a client or of a hub: a child of what is current, if anything is."""
    async with Hub("memory:") as hub:
        await hub.publish("r", 1, traceparent=PARENT)
        spans.clear()
        async for message in hub.read("r", since="start"):
            with tracer().start_as_current_span("loop") as loop, process_span(message):
                pass
            break
    process, _ = spans.get_finished_spans()
    assert (process.name, process.parent, links_of(process)) == (
        "process", loop.get_span_context(), [(TRACE_ID, SPAN_ID)],
    )  # fmt: skip
    spans.clear()
    with pytest.raises(KeyError), process_span(message):
        raise KeyError("x")
    assert spans.get_finished_spans()[0].status.status_code == StatusCode.ERROR


async def test_without_a_provider_nothing_happens() -> None:
    room, heard = connect("http://localhost:9").room("r"), list[Message]()
    room.on("message", heard.append)
    told(room, 1, traceparent=PARENT)
    with process_span(heard[0]):
        assert not opentelemetry.trace.get_current_span().get_span_context().is_valid


@pytest.mark.transports
async def test_from_one_end_to_the_other(hub: TestHub, spans: InMemorySpanExporter) -> None:
    """What was published in no trace is linked to by those who read it, over every transport."""
    reader = await hub.reader("r", user="ada")
    reader.room.on("message", lambda _: None)
    await hub.publish("r", 1)
    await reader.expect(1)
    found = {span.name: span for span in spans.get_finished_spans()}
    published = found["publish"].context
    assert links_of(found["process"]) == [(published.trace_id, published.span_id)]
