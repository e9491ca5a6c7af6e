"""What deploy/ starts containers, services and pods with, as processes of this machine."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from playwright.async_api import Browser, expect

from tests.browser.test_pages import WAIT_MS, enter, say, sees
from tests.deploy.conftest import Front, wait_for
from tests.redis_servers import RedisServer, needs_redis
from tests.support import ROOT, Server
from trunkline.config import load

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
SERVICES: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]


def of_image() -> dict[str, str]:
    """The environment that the image brings."""
    [line] = re.findall(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE)
    return {name: value for name, _, value in (pair.partition("=") for pair in shlex.split(line)) if name != "PATH"}


@needs_redis
async def test_compose_serves_a_chat(browser: Browser, tmp_path: Path) -> None:
    """Two people chat through nginx, while each of the three nodes is killed in turn, and then Redis."""
    with ExitStack() as stack:
        _, *arguments = SERVICES["redis"]["command"]
        redis = stack.enter_context(RedisServer(tmp_path, *arguments))
        nodes = [
            stack.enter_context(
                Server(
                    command=[sys.executable, "-m", "trunkline", "serve"],
                    environment=of_image()
                    | SERVICES[name]["environment"]
                    | {
                        "TRUNKLINE_STORE": SERVICES[name]["environment"]["TRUNKLINE_STORE"].replace(
                            "redis://redis:6379", redis.url
                        ),
                        "TRUNKLINE_HOST": "127.0.0.1",
                        "TRUNKLINE_PORT": "PORT",
                        "TRUNKLINE_PING_INTERVAL": "1",  # the timeouts of nginx are shorter here, too
                        "TRUNKLINE_PING_TIMEOUT": "0.9",
                    },
                )
            )
            for name in SERVICES["nginx"]["depends_on"]
        ]
        front = Front("nginx", [node.port for node in nodes], tmp_path, "compose.upstream.conf")
        stack.callback(front.stop)
        wait_for(f"{front.url}/readyz")
        ana, ben = await enter(browser, front, "ana"), await enter(browser, front, "ben")
        texts: list[str] = []
        victims: list[Server | RedisServer] = [*nodes, redis]
        for n, victim in enumerate(victims):
            victim.kill()
            for page, name in ((ana, "ana"), (ben, "ben")):
                texts.append(f"{name} {n}")
                await say(page, texts[-1])
                if victim is not redis:  # the others go on without it
                    await sees(ana, *texts)
                    await sees(ben, *texts)
            victim.start()
            for page in (ana, ben):
                await expect(page.locator("#messages .text")).to_have_count(len(texts), timeout=WAIT_MS)
                await expect(page.locator("#people li")).to_have_count(2, timeout=WAIT_MS)
        shown = [await page.locator("#messages .text").all_inner_texts() for page in (ana, ben)]
        assert shown[0] == shown[1]
        assert sorted(shown[0]) == sorted(texts)


def test_the_environment_is_one_of_settings() -> None:
    """Every variable that deploy/ sets exists, and what is set goes together."""
    node = load(None, of_image() | SERVICES["node1"]["environment"], {})
    assert (node.host, node.allow_anonymous) == ("0.0.0.0", True)
    assert node.store == "redis://redis:6379"
    [deployment] = [one for one in kubernetes() if one["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one.get("value", "redis://secret") for one in container["env"]}
    assert load(None, of_image() | given | {"TRUNKLINE_JWT__SECRET": "x" * 32}, {}).auth == "jwt"


def kubernetes() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))


@pytest.mark.parametrize("version", ["1.30", "1.35"])
def test_kubernetes_understands_it(version: str) -> None:
    """Nothing in it is misspelt, or at the wrong place: that would be left out without a word."""
    for one in kubernetes():
        kubernetes_validate.validate(one, version, strict=True)
    one["spec"]["tsl"] = one["spec"].pop("tls", [])
    with pytest.raises(kubernetes_validate.ValidationError, match="tsl"):
        kubernetes_validate.validate(one, version, strict=True)


def test_kubernetes_asks_what_we_answer() -> None:
    """Probes go where servers answer; a pod is told to stop when nothing is sent there any more, and has the time."""
    kinds = {one["kind"]: one for one in kubernetes()}
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    probes = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    with Server() as server:
        for path in probes.values():
            wait_for(f"{server.url}{path}")
    assert (
        kinds["Service"]["spec"]["selector"].items()
        <= kinds["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    )
    assert pod["terminationGracePeriodSeconds"] > 2 * container["lifecycle"]["preStop"]["sleep"]["seconds"]


def test_the_unit(tmp_path: Path) -> None:
    """systemd reads it without a complaint, and what it starts is a command that there is."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "trunkline.service")
    command = shlex.split(unit["Service"]["ExecStart"])
    assert command[1:4] == ["serve", "--workers", "4"]
    shown = [sys.executable, "-m", "trunkline", "serve", "--help"]
    options = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    assert all(word in options for word in command if word.startswith("--"))
    if shutil.which("systemd-analyze"):
        copy = tmp_path / "trunkline.service"
        copy.write_text((DEPLOY / "trunkline.service").read_text("utf-8").replace(command[0], "/bin/true"))
        checked = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
        assert str(copy.name) not in checked.stderr, checked.stderr


@pytest.mark.parametrize("name", ["nofile", "LimitNOFILE", "worker_rlimit_nofile"])
def test_files_for_100000(name: str) -> None:
    """Every place that limits open files has room for 100,000 connections, with two each at a proxy."""
    texts = [path.read_text("utf-8") for path in sorted(DEPLOY.iterdir())]
    found = [int(number) for text in texts for number in re.findall(rf"^\s*{name}[:= ]+(\d+)", text, re.MULTILINE)]
    assert found
    assert min(found) >= 200_000
