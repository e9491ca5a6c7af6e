import pytest

from trunkline.core.grant import EVERYTHING, Permissions, check_permissions, matches


@pytest.mark.parametrize(
    ("pattern", "room", "does"),
    [("chat:*", "chat:1", True), ("chat:*", "chat", False), ("*", "x", True), ("a", "a", True), ("a", "ab", False)],
)
def test_patterns(pattern: str, room: str, does: bool) -> None:
    assert matches(pattern, room) is does


def test_administrators_may_do_everything() -> None:
    assert Permissions(admin=("*",)).allows("write", "anything")
    assert not Permissions(admin=("chat:*",)).allows("write", "chat:1")
    assert EVERYTHING.allows("signal", "r")
    assert not Permissions().allows("read", "r")


def test_a_user_s_own_rooms() -> None:
    template = check_permissions(Permissions(read=("inbox:{user}",)), template=True)
    assert template.for_user("ana").allows("read", "inbox:ana")
    assert not template.for_user("*").allows("read", "inbox:ana")
    with pytest.raises(ValueError, match="inbox"):
        check_permissions(Permissions(read=("inbox:{user}",)))
