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


def ahead(theirs_s: float, began_s: float, ended_s: float, *, resolution_s: float = 0.0) -> float:
    """Return by how many seconds another clock is ahead of ours, at least; below 0 if it is behind.

    Args:
        theirs_s: What it said at some time between the two of ours.
        resolution_s: By how much that may have been rounded down.
    """
    return theirs_s - ended_s if theirs_s > ended_s else min(0.0, theirs_s + resolution_s - began_s)


def clock_finding(
    what: str,
    ahead_s: float,
    *,
    allowed_s: float,
    same: str = "the same as this machine's",
    advice: str = "let both be set by NTP: tokens and retention go by them",
) -> Finding:
    """Return a finding about another clock.

    Args:
        ahead_s: By how much it is ahead of this machine's.
        allowed_s: By how much clocks may differ.
        same: What is said if they do not differ by more.
    """
    if abs(ahead_s) <= allowed_s:
        return ok(what, same)
    text = f"it is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
    return Finding("warning", what, text, advice)
