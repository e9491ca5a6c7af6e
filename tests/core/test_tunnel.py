"""Messages between two ends, over a bus that loses what it likes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.core.tunnel import AGAIN_S, MESSAGE_BYTES_MAX, MORE, PATIENCE_S, PIECE_BYTES_MAX, WINDOW, Piece, Tunnel


def carry(sender: Tunnel, receiver: Tunnel, now: float, lost: set[int] | None = None) -> list[bytes]:
    """Carry over what is due, but for these pieces; and the acknowledgement back."""
    got = []
    for n, piece in enumerate(sender.outgoing(now)):
        if lost is None or n not in lost:
            found = receiver.receive(piece)
            if found is not None:
                got.append(found)
    sender.acknowledged(receiver.wanted, now)
    return got


def test_messages_arrive_in_order() -> None:
    a, b = Tunnel(), Tunnel()
    for text in (b"one", b"", b"three"):
        a.send(text)
    assert carry(a, b, 0.0) == [b"one", b"", b"three"]
    assert not a.is_waiting
    assert a.unsent_bytes == 0
    a.send(b"four")
    assert carry(a, b, 0.1) == [b"four"]


def test_a_large_message_goes_in_pieces_within_the_window() -> None:
    a, b = Tunnel(), Tunnel()
    large = bytes(PIECE_BYTES_MAX * (WINDOW + 2))
    a.send(large)
    assert len(a.outgoing(0.0)) == WINDOW
    assert a.outgoing(0.0) == []
    a, b = Tunnel(), Tunnel()
    a.send(large)
    assert carry(a, b, 0.0) == []
    assert carry(a, b, 0.0) == [large]


def test_what_was_lost_comes_again_from_there_on() -> None:
    a, b = Tunnel(), Tunnel()
    for n in range(3):
        a.send(b"%d" % n)
    assert carry(a, b, 0.0, lost={1}) == [b"0"]
    assert a.outgoing(0.1) == []
    assert [piece.number for piece in a.outgoing(AGAIN_S)] == [1, 2]


def test_an_acknowledgement_that_is_lost_repeats_nothing() -> None:
    a, b = Tunnel(), Tunnel()
    a.send(b"x")
    [piece] = a.outgoing(0.0)
    assert b.receive(piece) == b"x"
    [again] = a.outgoing(AGAIN_S)
    assert again == piece
    assert b.receive(again) is None
    a.acknowledged(b.wanted, AGAIN_S)
    assert not a.is_waiting


def test_silence_is_the_end_only_while_something_is_owed() -> None:
    a = Tunnel()
    assert not a.is_lost(1000.0)
    a.send(b"x")
    a.outgoing(1000.0)
    assert not a.is_lost(1000.0 + PATIENCE_S - 0.1)
    assert a.is_lost(1000.0 + PATIENCE_S)
    a.acknowledged(0, 1004.0)
    assert not a.is_lost(1004.0 + PATIENCE_S - 0.1)


def test_both_ends_know_of_the_end() -> None:
    a, b = Tunnel(), Tunnel()
    a.send(b"last")
    a.end()
    a.end()
    a.send(b"too late")
    assert carry(a, b, 0.0) == [b"last"]
    assert b.has_ended
    assert a.is_done
    assert not a.has_ended


def test_a_message_has_a_bound() -> None:
    b = Tunnel()

    def feed() -> None:
        for n in range(MESSAGE_BYTES_MAX // PIECE_BYTES_MAX + 1):
            b.receive(Piece(n, MORE, bytes(PIECE_BYTES_MAX)))

    with pytest.raises(ValueError, match="more than"):
        feed()


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=3) | st.just(bytes(PIECE_BYTES_MAX + 1)), max_size=40),
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=400, max_size=400),
)
def test_whatever_is_lost_everything_arrives_once_and_in_order(
    messages: list[bytes], losses: list[tuple[bool, bool]]
) -> None:
    a, b, got, now = Tunnel(), Tunnel(), [], 0.0
    for message in messages:
        a.send(message)
    for piece_is_lost, answer_is_lost in [*losses, *[(False, False)] * 100]:
        for piece in a.outgoing(now):
            found = None if piece_is_lost else b.receive(piece)
            if found is not None:
                got.append(found)
        if not answer_is_lost:
            a.acknowledged(b.wanted, now)
        now += AGAIN_S
    assert got == messages
    assert not a.is_waiting
