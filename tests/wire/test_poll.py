import msgspec

from trunkline.core.grant import Grant
from trunkline.core.message import Message
from trunkline.core.page import Page
from trunkline.core.position import Gap
from trunkline.core.presence import Member
from trunkline.core.read_mark import ReadMark
from trunkline.wire.poll import LivePage, encode_live, encode_page, encode_pages, positions

GAP = Gap("b", "e", 1, 2, "trimmed", "e.2")
PAGES = [
    Page("a", "e", 3, "e.3", None, [Message("a", 3, "m", None, 1, msgspec.Raw(b"1"))]),
    Page("b", "e", 2, "e.2", GAP, []),
]


def test_one_room_and_many() -> None:
    one = msgspec.json.decode(encode_page(PAGES[0]))
    assert (one["room"], one["next"], one["messages"][0]["data"], one["gap"]) == ("a", "e.3", 1, None)
    many = msgspec.json.decode(encode_pages(PAGES))
    assert (many["next"], len(many["messages"]), [gap["room"] for gap in many["gaps"]]) == ("a=e.3,b=e.2", 1, ["b"])
    assert positions({"a": "e.3", "b": "e.2"}) == "a=e.3,b=e.2"


def test_what_is_true_now_stands_beside_it() -> None:
    live = LivePage([], (1, [Member("ana", 1, msgspec.Raw(b"{}"))]), [ReadMark("a", "ana", 3, 1)])
    body = encode_live(
        "n-5", "ana", Grant(user="ana", expires_at=10.0), 4000, 5000, {"a": live, "b": LivePage([], None, [])}
    )
    found = msgspec.json.decode(encode_pages(PAGES, body))["live"]
    assert (found["next"], found["user"], found["expires_in_ms"]) == ("n-5", "ana", 6000)
    assert [one["room"] for one in found["presence"]] == ["a"]
    assert found["seen"][0]["marks"][0]["offset"] == 3
