"""The session, replaying the exchanges of conformance/ as the JavaScript one does."""

import json
from pathlib import Path

import pytest

from tests.support import ROOT
from trunkline.client.session import Session


@pytest.mark.parametrize("exchange", sorted((ROOT / "conformance").glob("*.json")), ids=lambda path: path.stem)
def test_the_same_exchanges(exchange: Path) -> None:
    """What the JavaScript session does, the Python one does, step by step."""
    said = json.loads(exchange.read_text("utf-8"))
    options = said["options"]
    session = Session(
        options["transports"],
        first=options.get("first"),
        has_token=options["hasToken"],
        outbox=options.get("outbox", ()),
        outbox_max=options.get("outboxMax", 1000),
        retry_max_ms=options.get("retryMaxMs"),
        random=lambda: 0.5,
    )
    for step in said["steps"]:
        assert json.loads(json.dumps(session.step(step["input"], step["at"]))) == step["effects"], step["input"]
