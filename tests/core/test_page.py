import msgspec

from trunkline.core.page import DEFAULT_START, Page


def test_a_page_on_the_wire() -> None:
    assert msgspec.json.decode(msgspec.json.encode(Page("r", "e", 3, "e.3", None, []))) == {
        "room": "r", "epoch": "e", "head": 3, "next": "e.3", "gap": None, "messages": [],
    }  # fmt: skip


def test_a_poll_that_does_not_say_where_begins_with_the_last_fifty() -> None:
    assert (DEFAULT_START.kind, DEFAULT_START.number) == ("last", 50)
