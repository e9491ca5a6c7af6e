from itertools import count

import pytest

from trunkline.core.grant import Grant
from trunkline.core.tickets import TICKET_S, TICKETS_PER_USER_MAX, Tickets
from trunkline.errors import RequestError

GRANT = Grant(user="ana")


def made(node: str = "") -> Tickets:
    numbers = count()
    return Tickets(lambda: f"secret{next(numbers)}", node)


def test_a_ticket_is_good_once() -> None:
    tickets = made()
    ticket = tickets.issue(GRANT, 0)
    assert tickets.redeem(ticket, 1) is GRANT
    with pytest.raises(RequestError, match="used already"):
        tickets.redeem(ticket, 1)


def test_and_not_for_long() -> None:
    tickets = made()
    ticket = tickets.issue(GRANT, 0)
    assert tickets.take(tickets.address(ticket)[1], TICKET_S + 1) is None
    tickets.issue(GRANT, 0)
    tickets.issue(GRANT, TICKET_S + 1)
    assert len(tickets) == 1


def test_a_user_has_so_many() -> None:
    tickets = made()
    mine = [tickets.issue(GRANT, 0) for _ in range(TICKETS_PER_USER_MAX + 1)]
    with pytest.raises(RequestError):
        tickets.redeem(mine[0], 0)
    assert tickets.redeem(mine[1], 0) is GRANT


def test_it_names_its_node() -> None:
    tickets = made("n1")
    ticket = tickets.issue(GRANT, 0)
    assert tickets.is_ours(ticket)
    assert not made("n2").is_ours(ticket)
    assert made("n2").address(ticket)[0] == "n1"
