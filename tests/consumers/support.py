"""Consumers whose retries, leases and looks take moments."""

import pytest

from trunkline.consumers import consumer, discovery, leases


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "RETRY_S", 0.01)
    monkeypatch.setattr(discovery, "SWEEP_AGAIN_S", 0.05)
    monkeypatch.setattr(consumer, "BEAT_S", 0.05)
    monkeypatch.setattr(leases, "LEASE_S", 1.0)
    monkeypatch.setattr(leases, "SURE_S", 0.8)
