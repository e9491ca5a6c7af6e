"""Spans of what is published: as OpenTelemetry's own SDK records them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import aiohttp
import httpx
import opentelemetry.trace
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from tests.access.support import serving
from tests.engine.support import FaultyStore, publish, running, virtual
from trunkline import Hub, Permissions
from trunkline.client import ClientError
from trunkline.core.message import Message
from trunkline.errors import RequestError, ShuttingDown, StoreUnavailable
from trunkline.testing.hub import TestHub

TRACE_ID, SPAN_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
PARENT = f"00-{TRACE_ID:032x}-{SPAN_ID:016x}-01"
DROPPED = f"00-{TRACE_ID:032x}-{SPAN_ID:016x}-00"  # whoever began it does not record it


def tracer() -> opentelemetry.trace.Tracer:
    return opentelemetry.trace.get_tracer("an application")


def ended(spans: InMemorySpanExporter) -> ReadableSpan:
    """The one span that has ended since the last look."""
    [span] = spans.get_finished_spans()
    spans.clear()
    return span


def context_of(span: ReadableSpan) -> str:
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


def parents_of(messages: list[Message]) -> list[str | None]:
    return [message.traceparent for message in messages]


def error_of(span: ReadableSpan) -> object:
    return (span.attributes or {}).get("error.type")


def published_in(spans: InMemorySpanExporter) -> list[tuple[object, int, object]]:
    """Of each span `publish` since the last look: the message's id, the trace, and the error."""
    found = [span for span in spans.get_finished_spans() if span.name == "publish"]
    spans.clear()
    return [((s.attributes or {}).get("messaging.message.id"), s.context.trace_id, error_of(s)) for s in found]


def nested(levels: int) -> list[object]:
    """Data of so many levels."""
    data: list[object] = []
    for _ in range(levels):
        data = [data]
    return data


async def test_what_a_span_says(spans: InMemorySpanExporter) -> None:
    async with Hub("memory:") as hub:
        first = await hub.publish("r", 1, id="k", traceparent=PARENT, tracestate="a=1")
        span = ended(spans)
        assert (span.name, span.kind, span.status.status_code) == ("publish", SpanKind.PRODUCER, StatusCode.UNSET)
        expected = {
            "messaging.system": "trunkline",
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.destination.name": "r",
            "messaging.message.id": "k",
            "messaging.trunkline.offset": first.offset,
            "messaging.trunkline.duplicate": False,
        }
        assert span.attributes == expected
        await hub.publish("r", 2, id="k")
        assert ended(spans).attributes == expected | {"messaging.trunkline.duplicate": True}


async def test_a_trace_that_was_brought_is_the_parent_and_is_stored_verbatim(spans: InMemorySpanExporter) -> None:
    async with Hub("memory:") as hub:
        await hub.publish("r", 1, traceparent=PARENT, tracestate="a=1")
        span = ended(spans)
        assert span.parent is not None
        assert (span.parent.trace_id, span.parent.span_id, span.parent.is_remote) == (TRACE_ID, SPAN_ID, True)
        assert span.context.trace_state.to_header() == "a=1"
        [message] = (await hub.page("r")).messages
        assert (message.traceparent, message.tracestate) == (PARENT, "a=1")


async def test_without_one_the_parent_is_current_and_the_context_of_the_span_is_stored(
    spans: InMemorySpanExporter,
) -> None:
    async with Hub("memory:") as hub:
        with tracer().start_as_current_span("work") as work:
            await hub.publish("r", 1)
        published, _ = spans.get_finished_spans()
        assert published.parent == work.get_span_context()
        spans.clear()
        await hub.publish("r", 2)
        root = ended(spans)
        assert root.parent is None
        assert parents_of([*(await hub.page("r")).messages]) == [context_of(published), context_of(root)]


async def test_a_span_of_the_same_trace_is_nearer_than_what_was_brought(spans: InMemorySpanExporter) -> None:
    """An instrumentation has taken the same headers up."""
    async with Hub("memory:") as hub:
        with tracer().start_as_current_span("request") as request:
            brought = f"00-{request.get_span_context().trace_id:032x}-{SPAN_ID:016x}-01"
            await hub.publish("r", 1, traceparent=brought)
            await hub.publish("r", 2, traceparent=PARENT)
        near, far, _ = spans.get_finished_spans()
        assert near.parent == request.get_span_context()
        assert far.parent is not None
        assert far.parent.span_id == SPAN_ID
        assert parents_of([*(await hub.page("r")).messages]) == [brought, PARENT]


async def test_the_context_of_another_thread(spans: InMemorySpanExporter) -> None:
    """`publish_sync` carries it over to the event loop."""
    async with Hub("memory:") as hub:

        def work() -> None:
            with tracer().start_as_current_span("task"):
                hub.publish_sync("r", 1)

        thread = threading.Thread(target=work)
        thread.start()
        await asyncio.to_thread(thread.join)
    published, task = spans.get_finished_spans()
    assert published.parent is not None
    assert published.parent.span_id == task.context.span_id


async def test_what_is_not_sampled_costs_no_span_and_is_stored_as_it_was(spans: InMemorySpanExporter) -> None:
    async with Hub("memory:") as hub:
        await hub.publish("r", 1, traceparent=DROPPED)
        assert not spans.get_finished_spans()
        assert parents_of([*(await hub.page("r")).messages]) == [DROPPED]


async def test_a_sampler_that_drops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(opentelemetry.trace, "_TRACER_PROVIDER", provider)
    async with Hub("memory:") as hub:
        await hub.publish("r", 1)
        assert not spans.get_finished_spans()
        assert parents_of([*(await hub.page("r")).messages]) == [None]


async def test_refused(spans: InMemorySpanExporter) -> None:
    async with Hub("memory:") as hub:
        with pytest.raises(RequestError, match="at most"):
            await hub.publish("r", "x" * 70_000, id="k", traceparent=PARENT)
    [span] = spans.get_finished_spans()
    assert (span.status.status_code, "at most 65536" in str(span.status.description)) == (StatusCode.ERROR, True)
    assert published_in(spans) == [("k", TRACE_ID, "too_large")]


@virtual
async def test_not_stored(spans: InMemorySpanExporter) -> None:
    """The log cannot be written, and the process stops."""
    store = FaultyStore()
    async with running(store) as engine:
        store.cannot_write = True
        with pytest.raises(StoreUnavailable):
            await engine.appender.append("r", None, None, b"1")
        assert error_of(ended(spans)) == "store_unavailable"
        engine.stop_taking()
        with pytest.raises(ShuttingDown):
            await engine.appender.append("r", None, None, b"1")
        assert error_of(ended(spans)) == "shutting_down"


@virtual
async def test_a_provider_that_is_set_late_is_found_within_a_second(spans: InMemorySpanExporter) -> None:
    provider, opentelemetry.trace._TRACER_PROVIDER = opentelemetry.trace._TRACER_PROVIDER, None
    async with running() as engine:
        await publish(engine, "r", 1)
        opentelemetry.trace._TRACER_PROVIDER = provider
        await asyncio.sleep(1.1)
        await publish(engine, "r", 1)
        assert ended(spans).name == "publish"


@pytest.mark.transports
async def test_a_client(hub: TestHub, spans: InMemorySpanExporter) -> None:
    """By a command of a WebSocket, or by POST: what is stored, and what is refused before the log has seen it."""
    may_not = Permissions(read=("r",), write=())
    writer, reader = await hub.reader("r", user="ada"), await hub.reader("r", user="eve", permissions=may_not)
    await writer.publish(1, id="k", traceparent=PARENT)
    await reader.expect(1)
    assert published_in(spans) == [("k", TRACE_ID, None)]
    with pytest.raises(ClientError, match="may not publish"):
        await reader.publish(2, id="l", traceparent=PARENT)
    refusal = published_in(spans)
    assert [(trace, error) for _, trace, error in refusal] == [(refusal[0][1], "forbidden")]
    with pytest.raises(ClientError, match="deeper than"):
        await hub.publish("r", nested(40), id="m", traceparent=PARENT, user="ada")
    assert published_in(spans) == [("m", TRACE_ID, "too_deep")]
    with pytest.raises(ClientError, match="may not publish"):
        await hub.publish("r", 1, user="eve", permissions=may_not, headers={"traceparent": PARENT})
    assert published_in(spans) == [(None, TRACE_ID, "forbidden")]


async def test_commands_that_are_refused(http: aiohttp.ClientSession, spans: InMemorySpanExporter) -> None:
    """Each where it is refused: by its fields, by its data; and what is no message has no span."""
    commands: list[dict[str, object]] = [{"data": 1, "id": ""}, {"data": nested(40), "id": "k"}, {"data": 2, "id": "l"}]
    async with serving(Hub("memory:")) as urls:
        for url in urls:
            async with http.ws_connect(f"{url}/rooms/{url[-5:]}") as ws:
                await ws.send_json({"type": "join", "room": "a b"})
                for command in commands:
                    await ws.send_json({"type": "message", "room": "r", "traceparent": PARENT} | command)
                while (said := await ws.receive_json())["type"] != "ack":
                    assert said["type"] in ("welcome", "joined", "error")
            expected = [("", TRACE_ID, "bad_id"), ("k", TRACE_ID, "too_deep"), ("l", TRACE_ID, None)]
            assert published_in(spans) == expected


async def test_a_list(spans: InMemorySpanExporter) -> None:
    """A span for each of its messages; none if a mistake in one of them stores none."""
    posts = [{"room": "r", "data": 1, "traceparent": PARENT}, {"room": "r", "data": 2}]
    async with Hub("memory:") as hub:
        transport = httpx.ASGITransport(hub.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            bad = await http.post("/publish", json=[*posts, {"room": "r", "data": nested(40)}])
            assert (bad.status_code, published_in(spans)) == (400, [])
            assert (await http.post("/publish", json=posts, headers={"traceparent": DROPPED})).status_code == 201
            [(_, trace, error)] = published_in(spans)  # of the other the headers say that it is not recorded
            assert (trace, error) == (TRACE_ID, None)
            assert parents_of([*(await hub.page("r")).messages]) == [PARENT, DROPPED]


def test_without_the_extra_nothing_is_different() -> None:
    """Where OpenTelemetry cannot be imported, all works, and no part of it is looked for again."""
    code = """
import asyncio, sys
sys.modules["opentelemetry"] = None
from trunkline import Hub
from trunkline.client import connect, process_span

async def main():
    async with Hub("memory:") as hub:
        await hub.publish("r", 1, traceparent=sys.argv[1])
        [message] = (await hub.page("r")).messages
        assert message.traceparent == sys.argv[1]
        with process_span(message):
            print(message.data)
    heard = []
    room = connect("http://localhost:9").room("r")
    room.on("message", heard.append)
    room.receive({"type": "message", "room": "r", "offset": 1, "id": "a", "from": None, "at": 1, "data": 2})
    print(heard[0].data)

asyncio.run(main())
"""
    command = [sys.executable, "-W", "error", "-c", code, PARENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n2\n", "")
