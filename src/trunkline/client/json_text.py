"""JSON as it is sent: compact UTF-8, the form in which servers count its bytes."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

_BRACKETS = {"[": 1, "{": 1, "]": -1, "}": -1}


def dumps(value: object) -> bytes:
    """The bytes of a JSON value.

    Raises:
        TypeError, ValueError: It is none, or holds half a surrogate pair.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def depth(text: bytes) -> int:
    """How deep a JSON text is nested."""
    level = deepest = 0
    quoted = escaped = False
    for character in text.decode():
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        else:
            level += _BRACKETS.get(character, 0)
            deepest = max(deepest, level)
    return deepest
