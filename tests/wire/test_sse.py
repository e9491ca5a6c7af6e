from trunkline.core.position import Gap
from trunkline.wire import sse


def test_the_beginning_sets_the_position_and_dispatches_nothing() -> None:
    assert sse.opening("e.5") == b": trunkline\nretry: 2000\nid: e.5\n\n"


def test_a_gap_moves_the_position() -> None:
    event = sse.gap_event(Gap("r", "e", 1, 4, "trimmed", "e.4"), b"e.4")
    assert event.startswith(b"event: gap\nid: e.4\ndata: {")
    assert b'"from":1,"to":4' in event


def test_chunks() -> None:
    assert sse.chunk(b"x" * 16) == b"10\r\n" + b"x" * 16 + b"\r\n"
    assert sse.event(b"{}", b"e.1") == b"id: e.1\ndata: {}\n\n"
    assert b"id:" not in sse.other_event(b"welcome", b"{}")
