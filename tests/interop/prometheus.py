"""A real Prometheus, with the configuration that deploy/ ships."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support import ROOT, free_port, until

needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
DEPLOY = ROOT / "deploy"


class Prometheus:
    """A prometheus that scrapes these metrics ports.

    Args:
        targets: `HOST:PORT` of each.
        token: What it brings, if they ask for one.
    """

    def __init__(self, folder: Path, targets: Sequence[str], token: str | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = (DEPLOY / "prometheus.yml").read_text("utf-8")
        listed = "".join(f"          - {target}\n" for target in targets)
        config, replaced = re.subn(r"          - 127\.0\.0\.1:9464\n", listed, config)
        assert replaced == 1
        if token is not None:
            (folder / "token").write_text(token)
            config = config.replace("    # authorization:", "    authorization:").replace(
                "    #   credentials_file: /etc/prometheus/trunkline.token", f"      credentials_file: {folder}/token"
            )
        (folder / "prometheus.yml").write_text(config)
        shutil.copy(DEPLOY / "alerts.yml", folder)
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._is_ready, "Prometheus is ready")

    def _is_ready(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)

    def get(self, path: str, **query: str) -> Any:
        """What its API answers."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=5) as answer:
            return json.load(answer)["data"]

    def series(self, expression: str) -> list[Any]:
        """The series that an expression returns now."""
        found = self.get("query", query=expression)["result"]
        assert isinstance(found, list)
        return found

    def firing(self) -> dict[str, str]:
        """The alerts that fire, with what their summaries say."""
        return {
            alert["labels"]["alertname"]: alert["annotations"]["summary"]
            for alert in self.get("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def targets_up(self) -> int:
        """How many targets it could scrape."""
        return sum(target["health"] == "up" for target in self.get("targets")["activeTargets"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
