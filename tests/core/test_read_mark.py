import pytest

from trunkline.core.position import OFFSET_MAX
from trunkline.core.read_mark import ReadMark, by_room, check_offset, unread
from trunkline.errors import RequestError


def test_what_is_retained_and_not_seen() -> None:
    assert unread("r", 1, 10, 4).unread == 6
    assert unread("r", 8, 10, 4).unread == 3
    assert unread("r", 11, 10, 0).unread == 0
    assert unread("r", 1, 10, 99).unread == 0


def test_offsets() -> None:
    assert check_offset(OFFSET_MAX) == OFFSET_MAX
    for bad in (None, -1, OFFSET_MAX + 1):
        with pytest.raises(RequestError):
            check_offset(bad)


def test_marks_by_room() -> None:
    marks = [ReadMark("a", "x", 1, 0), ReadMark("b", "x", 2, 0), ReadMark("a", "y", 3, 0)]
    assert by_room(marks) == {"a": [marks[0], marks[2]], "b": [marks[1]]}
