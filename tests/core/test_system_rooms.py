"""Rooms that the system keeps for itself."""

import pytest

from trunkline.core.grant import EVERYTHING, Permissions
from trunkline.core.message import check_readable_room, check_room
from trunkline.core.system_rooms import OVERVIEW, follow_room, is_volatile
from trunkline.errors import RequestError


def test_no_application_can_have_such_a_room() -> None:
    for name in (OVERVIEW, follow_room("n-1"), "$revocations"):
        assert check_readable_room(name) == name
        with pytest.raises(RequestError):
            check_room(name)
    for name in ("$", "$$a", "$..", "a$b"):
        with pytest.raises(RequestError):
            check_readable_room(name)


def test_administrators_alone_read_them_and_nobody_writes() -> None:
    admin = Permissions(admin=("*",))
    assert admin.allows("read", OVERVIEW)
    assert not admin.allows("write", OVERVIEW)
    assert not admin.allows("signal", OVERVIEW)
    assert not EVERYTHING.allows("read", OVERVIEW)
    assert not Permissions(read=("*", "$overview")).allows("read", OVERVIEW)


def test_which_need_no_log() -> None:
    assert is_volatile(OVERVIEW)
    assert is_volatile(follow_room("n-1"))
    assert not is_volatile("$revocations")
    assert not is_volatile("overview")
