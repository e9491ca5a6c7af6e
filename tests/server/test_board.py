"""Which worker takes the next connection."""

import os

from trunkline.server.board import POSTED_S, Board, make_board


def boards(count: int) -> list[Board]:
    file = make_board()
    made = [Board(file, slot, count) for slot in range(count)]
    os.close(file)
    return made


def test_whoever_has_more_than_its_share_waits() -> None:
    one, two, three = boards(3)
    two.post(100, 10.0, full=False)
    three.post(100, 10.0, full=False)
    assert one.may_accept(112, 10.1, full=False)
    assert not one.may_accept(140, 10.1, full=False)


def test_few_connections_are_nothing_to_wait_for() -> None:
    one, two = boards(2)
    two.post(0, 10.0, full=False)
    assert one.may_accept(8, 10.0, full=False)


def test_whoever_does_not_answer_is_nobodys_measure() -> None:
    """It is stuck, or has ended: the others must not wait for it."""
    one, two = boards(2)
    assert one.may_accept(1000, 10.0, full=False)
    two.post(0, 10.0, full=False)
    assert not one.may_accept(1000, 10.0, full=False)
    assert one.may_accept(1000, 10.0 + POSTED_S, full=False)
    two.post(0, 11.0, full=False)
    two.leave()
    assert one.may_accept(1000, 11.0, full=False)


def test_the_full_wait_until_all_are() -> None:
    """Then each takes what comes, to say so."""
    one, two, three = boards(3)
    two.post(50, 10.0, full=True)
    three.post(40, 10.0, full=False)
    assert not one.may_accept(50, 10.0, full=True)
    assert one.may_accept(49, 10.0, full=False)  # those that are full are no measure
    three.post(50, 10.0, full=True)
    assert one.may_accept(50, 10.0, full=True)
