import pytest

from trunkline.errors import StoreUnavailable
from trunkline.transports.publish_order import FIRST_S, PublishOrder


def test_what_was_refused_for_now_comes_first() -> None:
    order = PublishOrder(10)
    order.refused("r", "a", 0.0)
    order.refused("r", "b", 0.0)
    order.check("other", "c", 1.0)
    with pytest.raises(StoreUnavailable, match="a was not stored"):
        order.check("r", "b", 1.0)
    order.check("r", None, 1.0)
    order.check("r", "a", 1.0)
    order.check("r", "b", 1.0)


def test_others_do_not_wait_for_ever() -> None:
    order = PublishOrder(10)
    order.refused("r", "a", 0.0)
    order.check("r", "b", FIRST_S)


def test_the_order_is_kept_in_so_many_rooms() -> None:
    order = PublishOrder(2)
    for room in "abc":
        order.refused(room, "first", 0.0)
    order.check("c", "later", 1.0)
    with pytest.raises(StoreUnavailable):
        order.check("b", "later", 1.0)
