"""The fields of W3C Trace Context: what is a trace, and what is ignored."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.trace import Trace, parse_trace, trace_from_text

IDS = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
PARENT = f"00-{IDS}-01"

hexadecimal = st.text("0123456789abcdef")
visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)


@st.composite
def traceparents(draw: st.DrawFn) -> str:
    """Of any version, all of them valid."""
    version = draw(st.integers(0, 0xFE))
    trace, span = draw(st.integers(1, 2**128 - 1)), draw(st.integers(1, 2**64 - 1))
    flags = draw(st.integers(0, 0xFF))
    more = draw(st.none() | visible) if version else None
    return f"{version:02x}-{trace:032x}-{span:016x}-{flags:02x}" + ("" if more is None else f"-{more}")


@given(traceparents(), st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=512))
def test_what_is_valid_is_kept_verbatim(parent: str, state: str) -> None:
    assert parse_trace(parent, state) == Trace(parent, state)
    assert parse_trace(parent) == Trace(parent, None)


@given(traceparents(), st.integers(0, 54), st.characters(exclude_characters="0123456789abcdef-"))
def test_one_wrong_character_and_there_is_no_trace(parent: str, at: int, wrong: str) -> None:
    assert parse_trace(parent[:at] + wrong + parent[at + 1 :]) is None
    assert parse_trace(parent[:at]) is None


@given(st.text(max_size=80) | hexadecimal)
def test_what_is_a_trace_has_ids(text: str) -> None:
    """Whatever is accepted holds what readers of it need."""
    trace = parse_trace(text)
    assert trace is None or re.match("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", trace.parent)


@pytest.mark.parametrize(
    "parent",
    [
        "", PARENT[:-1], f"{PARENT}-", f"{PARENT}-more", f"{PARENT} ", f" {PARENT}", f"{PARENT}\n", f"ff-{IDS}-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        PARENT.upper(), f"{PARENT}, {PARENT}", f"01-{IDS}-01.more", f"01-{IDS}-01-mo re", f"01-{IDS}-01-{'x' * 512}",
        f"00-{IDS}-٠١",
    ],
)  # fmt: skip
def test_what_is_no_traceparent(parent: str) -> None:
    assert parse_trace(parent, "a=1") is None


@pytest.mark.parametrize("parent", [PARENT, f"00-{IDS}-ff", f"01-{IDS}-01", f"01-{IDS}-01-", f"fe-{IDS}-01-what-ever"])
def test_what_is_one(parent: str) -> None:
    assert parse_trace(parent) == Trace(parent)


@pytest.mark.parametrize("state", ["", "x" * 513, "a=é", "a=1\n", "a=1\x00"])
def test_a_bad_tracestate_is_left_out_alone(state: str) -> None:
    assert parse_trace(PARENT, state) == Trace(PARENT)


def test_a_tracestate_alone_is_nothing() -> None:
    assert parse_trace(None, "a=1") is None


@given(traceparents(), st.none() | st.just("a=1, b=2 ") | st.just(" a=1"))
def test_a_trace_as_one_text(parent: str, state: str | None) -> None:
    assert trace_from_text(Trace(parent, state).text) == Trace(parent, state)
