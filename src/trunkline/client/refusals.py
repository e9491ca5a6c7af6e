"""Refusals: which of them pass, and when the same is sent again. The twin of `client/src/refusals.js`."""

from __future__ import annotations

from collections.abc import Callable

from trunkline.client.json_text import Json

RESEND_MS = 1000
# Codes of refusals that have changed nothing, and that pass; of `network` it is not known what was done.
TEMPORARY = frozenset(
    {
        "store_unavailable", "overloaded", "shutting_down", "rate_limited", "too_many_calls", "too_many_connections",
        "server_full", "network",
    }
)  # fmt: skip


def passes(error: Json) -> bool:
    """Return whether a message, a read mark or a room may be taken later."""
    return error["code"] in TEMPORARY or error["code"] == "internal" or bool(error.get("retry_after_ms"))


def pause_ms(error: Json, random: Callable[[], float]) -> int:
    """Return how long to wait before the same is sent again."""
    return rounded(error.get("retry_after_ms", RESEND_MS) * (1 + random()))


def rounded(ms: float) -> int:
    """Return a number rounded as JavaScript's Math.round does."""
    return int(ms + 0.5)
