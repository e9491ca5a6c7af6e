"""Whether something that was heard is what a test expects: pure."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

SHOWN_MAX = 200


def matches(wanted: Any, found: Any) -> bool:
    """Return whether *found* is what is wanted.

    Args:
        wanted: `...` is anything. A mapping wants its own keys, and lets there be others; a list wants as many items; a
            function decides for itself; everything else is to be equal (and may be an object that says what it equals,
            such as `pytest.approx(1)`).
        found: Decoded JSON.
    """
    if wanted is ...:
        return True
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(key in found and matches(wanted[key], found[key]) for key in wanted)
    if isinstance(wanted, list | tuple):
        return isinstance(found, list) and len(wanted) == len(found) and all(map(matches, wanted, found))
    if callable(wanted) and not isinstance(wanted, type):
        answer = wanted(found)
        if inspect.iscoroutine(answer):
            answer.close()
            raise TypeError(f"{shown(wanted)} is a coroutine function: what decides about a message is a plain one")
        return bool(answer)
    if isinstance(wanted, bool | int | float) and isinstance(wanted, bool) != isinstance(found, bool):
        return False  # 1 is not true in JSON
    return bool(wanted == found)


def shown(value: Any) -> str:
    """Return a value as a line for people."""
    if value is ...:
        return "anything"
    if callable(value):
        return getattr(value, "__name__", repr(value))
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
