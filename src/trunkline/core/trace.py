"""The trace that a message belongs to: the fields `traceparent` and `tracestate` of W3C Trace Context, levels 1 and 2.

A trace is for those who look at messages, and no part of what a message says: one that is not valid is ignored, and the
message is published without it. So a proxy that sends a bad header costs no message.
"""

from __future__ import annotations

import re
from typing import NamedTuple

FIELD_MAX = 512  # characters: what section 3.3.1.5 asks at least of those who pass a tracestate on

# Version 00 ends behind the flags; a later one may go on there, with a dash (section 3.2.4). ff is no version.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?", re.ASCII
)


class Trace(NamedTuple):
    """The place of a message in a trace, as its publisher has named it.

    Attributes:
        parent: The `traceparent`: version, trace id, span id and flags.
        state: The `tracestate`, which tracing systems read; None if there is none.
    """

    parent: str
    state: str | None = None

    @property
    def text(self) -> str:
        """Both fields as one text, as logs keep it: a traceparent has no space."""
        return self.parent if self.state is None else f"{self.parent} {self.state}"


def parse_trace(traceparent: str | None, tracestate: str | None = None) -> Trace | None:
    """Return the trace that two fields name, verbatim; None if the first one is missing or not valid.

    The rules are those of W3C Trace Context: of `traceparent` sections 3.2.2 and 3.2.4 (version 00 has exactly 55
    characters; a later version may append more behind a dash; ids are lower-case hexadecimal and not all zeros; ff is
    no version), of `tracestate` section 3.3.1. A `tracestate` that is empty, not printable ASCII or longer than 512
    characters is left out alone: it must not affect what `traceparent` says.
    """
    if traceparent is None or not _is_traceparent(traceparent):
        return None
    if not tracestate or len(tracestate) > FIELD_MAX or not (tracestate.isascii() and tracestate.isprintable()):
        tracestate = None
    return Trace(traceparent, tracestate)


def trace_fields(trace: Trace | None) -> dict[str, str]:
    """Return a trace as the fields of a JSON object; none if there is none."""
    fields = {} if trace is None else {"traceparent": trace.parent}
    if trace is not None and trace.state is not None:
        fields["tracestate"] = trace.state
    return fields


def trace_from_text(text: str) -> Trace:
    """Return what `Trace.text` was made of."""
    parent, _, state = text.partition(" ")
    return Trace(parent, state or None)


def _is_traceparent(text: str) -> bool:
    match = _TRACEPARENT.fullmatch(text)
    return match is not None and len(text) <= FIELD_MAX and (match[1] != "00" or match[2] is None)
