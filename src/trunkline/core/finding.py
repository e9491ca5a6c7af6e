"""What an examination of a server and its surroundings finds (`trunkline doctor`)."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "fault"]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at.

    Attributes:
        what: What was looked at.
        text: What was found.
        advice: What to do about it; empty if there is nothing to do.
    """

    level: Level
    what: str
    text: str
    advice: str = ""


def ok(what: str, text: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding("ok", what, text)
