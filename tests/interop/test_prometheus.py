"""The metrics in a real Prometheus: scraped, alerted on, and shown on the board for Grafana."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import yaml

from tests.access.support import ADMIN, EVERYWHERE, bearer, token
from tests.admin.support import guarded
from tests.interop.prometheus import DEPLOY, Prometheus, needs_prometheus
from tests.server.test_metrics_port import metrics_url
from tests.support import WAIT_S, until

pytestmark = needs_prometheus

VARIABLES = {"$__rate_interval": "20s", "$job": "trunkline", "$instance": ".*"}


def check(*arguments: str, cwd: Path = DEPLOY) -> None:
    found = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    check("check", "config", "prometheus.yml")
    check("check", "rules", "alerts.yml")


def test_each_alert_fires_on_what_it_is_for_and_on_nothing_else(tmp_path: Path) -> None:
    """By promtool's own unit tests: each series below raises exactly the alert that is named."""
    label = 'job="trunkline", instance="n:1"'
    raising = {
        "TrunklineDown": {f"up{{{label}}}": "1 0x60"},
        "TrunklineCannotStore": {f'trunkline_store_up{{{label}, operation="append"}}': "1 0x60"},
        "TrunklineCannotRead": {f'trunkline_store_up{{{label}, operation="read"}}': "1 0x60"},
        "TrunklineStoreHangs": {f"trunkline_store_waiting_seconds{{{label}}}": "0 3x60"},
        "TrunklineWorkerHangs": {f'trunkline_worker_silent_seconds{{{label}, worker="1"}}': "0 9x60"},
        "TrunklineWorkersDie": {f'trunkline_worker_ends_total{{{label}, worker="parent"}}': "0+1x60"},
        "TrunklineReadersBehind": {
            f'trunkline_reader_lag_messages_bucket{{{label}, le="100.0"}}': "5x60",
            f'trunkline_reader_lag_messages_bucket{{{label}, le="+Inf"}}': "5 6x60",
        },
        "TrunklineMessagesLost": {f'trunkline_gaps_total{{{label}, reason="slow"}}': "0+1x60"},
        "TrunklineTooManyRequests": {f'trunkline_refusals_total{{{label}, code="rate_limited"}}': "0+100x60"},
        "TrunklineAuthenticationFails": {
            f'trunkline_authentication_failures_total{{{label}, code="unauthorized"}}': "0+100x60"
        },
        "TrunklinePublishingSlow": {
            f'trunkline_publish_seconds_bucket{{{label}, le="0.5"}}': "0x60",
            f'trunkline_publish_seconds_bucket{{{label}, le="1.0"}}': "0+10x60",
            f'trunkline_publish_seconds_bucket{{{label}, le="+Inf"}}': "0+10x60",
        },
        "TrunklineDeliverySlow": {
            f'trunkline_delivery_seconds_bucket{{{label}, le="0.5"}}': "0x60",
            f'trunkline_delivery_seconds_bucket{{{label}, le="1.0"}}': "0+10x60",
            f'trunkline_delivery_seconds_bucket{{{label}, le="+Inf"}}': "0+10x60",
        },
        "TrunklineOverloaded": {
            f'trunkline_event_loop_delay_seconds_bucket{{{label}, le="0.25"}}': "0x60",
            f'trunkline_event_loop_delay_seconds_bucket{{{label}, le="0.5"}}': "0+10x60",
            f'trunkline_event_loop_delay_seconds_bucket{{{label}, le="+Inf"}}': "0+10x60",
        },
        "TrunklineNearlyFull": {
            f"process_open_fds{{{label}}}": "900x60",
            f"process_max_fds{{{label}}}": "1000x60",
        },
        "TrunklineNodesDisagree": {
            f"trunkline_nodes{{{label}}}": "3x60",
            'trunkline_nodes{job="trunkline", instance="n:2"}': "2x60",
        },
        "TrunklineConsumerBehind": {f'trunkline_consumer_lag_messages{{{label}, consumer="c"}}': "5000x60"},
        "TrunklineMessagesSetAside": {f'trunkline_consumer_set_aside_total{{{label}, consumer="c"}}': "0+1x60"},
        "TrunklineHandlersFail": {f'trunkline_handler_failures_total{{{label}, kind="call"}}': "0+10x60"},
    }
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
    assert {rule["alert"] for rule in rules} == set(raising)
    tests = []
    for raised, series in raising.items():
        firing = [
            {"eval_time": "4m", "alertname": rule["alert"], "exp_alerts": []}
            for rule in rules
            if rule["alert"] != raised
        ]
        inputs = [{"series": name, "values": values} for name, values in series.items()]
        tests.append({"interval": "5s", "input_series": inputs, "alert_rule_test": firing})
        # promtool wants every annotation to be spelled out, so that it fires is asked of the series ALERTS.
        expression = f'count(ALERTS{{alertname="{raised}", alertstate="firing"}})'
        tests[-1]["promql_expr_test"] = [
            {"expr": expression, "eval_time": "4m", "exp_samples": [{"labels": "{}", "value": 1}]}
        ]
    (tmp_path / "tests.yml").write_text(
        json.dumps({"rule_files": [str(DEPLOY / "alerts.yml")], "evaluation_interval": "2s", "tests": tests})
    )
    check("test", "rules", "tests.yml", cwd=tmp_path)


def expressions() -> Iterator[str]:
    """What the board for Grafana asks."""
    board = json.loads((DEPLOY / "grafana.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"]
            for name, value in VARIABLES.items():
                text = text.replace(name, value)
            assert "$" not in text, text
            yield text


async def test_every_expression_of_the_board_returns_series(tmp_path: Path) -> None:
    """From a server with two workers that is used in every way, scraped by a real Prometheus with a token."""
    arguments = ("--workers", "2", "--metrics-port", "0", "--metrics-host", "0.0.0.0")
    with guarded(tmp_path, *arguments) as server:
        target = metrics_url(server).removeprefix("http://").removesuffix("/metrics").replace("0.0.0.0", "127.0.0.1")
        with Prometheus(tmp_path, [target], token("prometheus", rooms=ADMIN)) as prometheus:
            until(lambda: prometheus.targets_up() == 1, "it was scraped")
            using = asyncio.create_task(use(server.url))
            missing = set(expressions())
            async with asyncio.timeout(4 * WAIT_S):
                while missing:
                    await asyncio.sleep(0.5)
                    assert not using.done() or using.result()
                    missing = {text for text in missing if not await asyncio.to_thread(prometheus.series, text)}
            using.cancel()
            assert len(prometheus.series("trunkline_sockets")) == 2  # both workers, from one scrape
            assert prometheus.firing() == {}


async def use(url: str) -> None:
    """Read and publish in every way, on both workers, for ever."""
    ana = bearer(token("ana", rooms=EVERYWHERE))
    async with aiohttp.ClientSession(headers=ana) as http:
        sockets = [await http.ws_connect(f"{url}/connect?room=a") for _ in range(6)]
        events = [await http.get(f"{url}/rooms/a", headers={"Accept": "text/event-stream"}) for _ in range(2)]
        drains = [asyncio.create_task(drain(socket)) for socket in sockets]
        try:
            for n in itertools.count():
                async with http.post(f"{url}/rooms/a", json={"data": n, "id": f"id{n // 2}"}) as response:
                    assert response.status in (200, 201)
                async with http.get(f"{url}/rooms/a?last=1") as response:
                    assert response.status == 200
                async with http.ws_connect(f"{url}/connect?room=a") as socket:
                    await socket.receive()
                await asyncio.sleep(0.2)
        finally:
            for drained in drains:
                drained.cancel()
            for stream in events:
                stream.close()


async def drain(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass


def test_the_board_names_no_metric_that_there_is_not() -> None:
    from trunkline.admin import figures

    source = Path(figures.__file__).read_text()
    text = "\n".join([*expressions(), (DEPLOY / "alerts.yml").read_text()])
    for name in set(re.findall(r"trunkline_(\w+)", text)) - {"worker_silent_seconds", "worker_ends_total"}:
        plain = re.sub(r"_(bucket|total)$", "", name)
        assert f'"{plain}"' in source or f'"trunkline_{plain}"' in source, name
