"""JSON as it is sent: compact UTF-8, the form in which servers count its bytes."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]


def dumps(value: object) -> bytes:
    """Return the bytes of a JSON value.

    Raises:
        TypeError, ValueError: It is none, or holds half a surrogate pair.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
