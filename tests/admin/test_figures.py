"""Metrics: what is counted where, under which name, and that Prometheus' own parser reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.engine.support import FaultyStore, Listener, running, virtual
from trunkline import Hub, JwtAuth
from trunkline.access.issuer import Issuer
from trunkline.access.policy import Access
from trunkline.admin.exposition import expose
from trunkline.admin.figures import REFUSAL_CODES, Family, Figures
from trunkline.client import ClientError
from trunkline.consumers.registry import Consumers
from trunkline.core.close_codes import label
from trunkline.core.limits import Limits
from trunkline.core.position import Start
from trunkline.core.retention import Retention
from trunkline.engine.engine import Engine
from trunkline.errors import REQUEST_ERRORS
from trunkline.handlers.calls import Calls
from trunkline.handlers.connection_hooks import ConnectionHooks
from trunkline.handlers.registry import Handlers
from trunkline.handlers.runner import Runner
from trunkline.hub import context_of
from trunkline.testing import TestHub

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def figures_of(engine: Engine) -> Figures:
    access, handlers = Access(Limits(), engine.counters, engine.clock), Handlers()
    runner = Runner(1, engine.counters, engine.clock)
    calls, hooks = Calls(engine, access, handlers, runner), ConnectionHooks(engine.tasks, handlers, runner)
    return Figures(engine, access, Consumers(engine), calls, hooks)


def values(families: Sequence[Family], accept: str = OPENMETRICS) -> dict[str, float]:
    """Every series by its name and labels, as a scraper has it."""
    text, media_type = expose([((), families)], accept)
    parse = parse_openmetrics if media_type.startswith("application/openmetrics") else parse_text
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


@virtual
async def test_what_a_message_leaves_behind() -> None:
    async with running() as engine:
        reader, other = Listener(engine), Listener(engine)
        other.transport = "sse"
        await reader.join("a", Start("now"))
        await other.join("a", Start("now"))
        for n in range(3):
            await engine.appender.append("a", f"id{n % 2}", None, b"1")
        await asyncio.sleep(0.01)
        found = values(figures_of(engine).families())
        assert found["trunkline_published_total"] == 2
        assert found["trunkline_duplicates_total"] == 1
        assert found["trunkline_delivered_total transport=websocket"] == 2
        assert found["trunkline_delivered_total transport=sse"] == 2
        assert found["trunkline_publish_seconds_count"] == 3
        assert found["trunkline_delivery_seconds_count"] >= 2
        assert found["trunkline_store_seconds_count operation=append"] == 3
        assert found["trunkline_readers"] == 2
        assert found["trunkline_store_up operation=append"] == 1
        assert found["trunkline_rooms"] == 1
        assert found["trunkline_nodes"] == 1


@virtual
async def test_a_reader_that_does_not_read_is_behind_and_then_has_a_gap() -> None:
    async with running(FaultyStore(Retention(messages_max=20))) as engine:
        reader = Listener(engine)
        cursor = await reader.join("a", Start("now"))
        await engine.appender.append("a", None, None, b"1")
        reader.full = True
        for _ in range(150):
            await engine.appender.append("a", None, None, b"1")
        found = values(figures_of(engine).families())
        assert found["trunkline_readers_stalled"] == 1
        assert found["trunkline_reader_lag_messages_bucket le=100.0"] == 0
        assert found["trunkline_reader_lag_messages_bucket le=1000.0"] == 1
        assert found["trunkline_reader_lag_messages_gsum"] == 150
        assert found["trunkline_stalls_total"] == 1
        engine.rooms.get("a").messages.clear()  # type: ignore[union-attr]  # so that it must read the store
        engine.rooms.get("a").arrived.clear()  # type: ignore[union-attr]
        reader.full = False
        engine.delivery.writable(cursor)
        await asyncio.sleep(1)
        found = values(figures_of(engine).families())
        assert found["trunkline_gaps_total reason=slow"] == 1
        assert found["trunkline_readers_stalled"] == 0
        assert cursor.given == len(reader.offsets) == 1 + 20


@virtual
async def test_a_store_that_is_away_is_down() -> None:
    store = FaultyStore()
    async with running(store) as engine:
        store.cannot_write = True
        for _ in range(2):
            try:
                await engine.appender.append("a", None, None, b"1")
            except Exception:  # noqa: BLE001 - it is what is counted that matters
                pass
            await asyncio.sleep(11)
        found = values(figures_of(engine).families())
        assert found["trunkline_store_up operation=append"] == 0
        assert found["trunkline_store_up operation=read"] == 1
        assert found["trunkline_store_errors_total operation=append"] == 2
        store.cannot_write, store.is_away = False, True
        await asyncio.sleep(12)
        assert values(figures_of(engine).families())["trunkline_store_up operation=read"] == 0


@virtual
async def test_failures_have_a_series_before_the_first_one() -> None:
    """Prometheus' `increase` does not see the first of a series that begins with it."""
    async with running(FaultyStore()) as engine:
        found = values(figures_of(engine).families())
        for operation in ("append", "read"):
            assert found[f"trunkline_store_errors_total operation={operation}"] == 0
        engine.counters.handler_s["call"].observe(0.1)
        assert values(figures_of(engine).families())["trunkline_handler_failures_total kind=call"] == 0


def test_every_refusal_has_a_series_from_the_start() -> None:
    assert set(REQUEST_ERRORS) < set(REFUSAL_CODES)


def test_close_codes_that_peers_make_up_are_one() -> None:
    assert [label(code) for code in (1000, 4200, 1006, 1005, 3000, 4999)] == [
        "1000",
        "4200",
        "1006",
        "1005",
        "other",
        "other",
    ]


async def test_both_formats_say_the_same() -> None:
    async with Hub("memory:") as hub:
        await hub.publish("a", 1)
        families = context_of(hub).figures.families()
        old, new = values(families, "text/plain"), values(families)
        names = {name for name in new if "_created" not in name}
        # The older format has no gauge histogram of its own: it is written as a plain one.
        assert {name.replace("_gcount", "_count").replace("_gsum", "_sum") for name in names} == {
            name.replace("_gcount", "_count").replace("_gsum", "_sum") for name in old
        }
        assert old["trunkline_published_total"] == new["trunkline_published_total"] == 1


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text;version=abc", "application/openmetrics-text;version=", "*/*;q=x", ""]
)
def test_whatever_a_scraper_accepts_it_is_answered(accept: str) -> None:
    text, media_type = expose([((), [])], accept)
    assert media_type.startswith(("text/plain", "application/openmetrics-text"))
    assert text in (b"", b"# EOF\n")


async def test_no_label_names_a_room_or_a_user() -> None:
    async with TestHub() as hub:
        reader = await hub.reader("secret-room", user="secret-user")
        await reader.publish({"of": "secret"})
        await reader.expect({"of": "secret"})
        text, _ = expose([((), context_of(hub.hub).figures.families())], OPENMETRICS)
    assert b"secret" not in text


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_connections_are_counted_by_how_they_begin_and_end(transport: str) -> None:
    async with TestHub(transport=transport) as hub:
        figures = context_of(hub.hub).figures
        reader = await hub.reader("a")
        await hub.publish("a", 1)
        await reader.expect(1)
        found = values(figures.families())
        assert found[f"trunkline_connections transport={transport}"] == 1
        assert found[f"trunkline_connects_total kind=fresh transport={transport}"] == 1
        reader.reset()
        await reader.reconnect()
        await hub.publish("a", 2)
        await reader.expect(2)
        found = values(figures.families())
        assert found[f"trunkline_connects_total kind=resumed transport={transport}"] == 1
        await reader.close()
        await hub.until(lambda: not context_of(hub.hub).engine.counters.open[transport])
        closes = {
            name: value for name, value in values(figures.families()).items() if name.startswith("trunkline_closes")
        }
        assert sum(closes.values()) == 2


@pytest.mark.parametrize("transport", ["longpoll", "shortpoll"])
async def test_what_polls_are_given_is_counted(transport: str) -> None:
    async with TestHub(transport=transport) as hub:
        reader = await hub.reader("a")
        await hub.publish("a", 1)
        await reader.expect(1)
        assert values(context_of(hub.hub).figures.families())[f"trunkline_delivered_total transport={transport}"] == 1


@pytest.mark.parametrize("transport", ["websocket", "sse", "longpoll", "shortpoll"])
async def test_gaps_are_counted_whatever_the_transport(transport: str) -> None:
    async with TestHub(transport=transport) as hub:
        await hub.publish("a", 1)
        reader = await hub.reader("a", since="other.5")
        await reader.expect_gap("epoch")
        assert values(context_of(hub.hub).figures.families())["trunkline_gaps_total reason=epoch"] == 1


@virtual
async def test_what_a_stalled_reader_is_given_late_counts_as_late_and_history_does_not() -> None:
    async with running() as engine:
        reader, late = Listener(engine), Listener(engine)
        cursor = await reader.join("a", Start("now"))
        reader.full = True
        for _ in range(5):
            await engine.appender.append("a", None, None, b"1")
        await asyncio.sleep(8)
        await late.join("a", Start("start"))
        await asyncio.sleep(0.1)
        assert engine.counters.delivery_s.total == 0
        reader.full = False
        engine.delivery.writable(cursor)
        await asyncio.sleep(0.1)
        assert reader.offsets == late.offsets == [1, 2, 3, 4, 5]
        assert engine.counters.delivery_s.total > 7


async def test_refusals_and_failed_authentications_are_counted() -> None:
    async with TestHub(auth=JwtAuth([Issuer(secret="a secret for tests, of 32 bytes or more")])) as hub:
        with pytest.raises(ClientError):
            await hub.publish("a", 1, token="nonsense")
        with pytest.raises(ClientError):
            await hub.publish("$overview", 1, user="ana")
        found = values(context_of(hub.hub).figures.families())
    assert found["trunkline_authentication_failures_total code=unauthorized"] == 1
    assert found["trunkline_refusals_total code=unauthorized"] == 1
    assert found["trunkline_refusals_total code=bad_room"] == 1
