import pytest

from trunkline.core.limits import Limits
from trunkline.core.page import DEFAULT_START
from trunkline.core.position import NOW, Start
from trunkline.errors import RequestError
from trunkline.wire.query import ONCE, Kind, ReadQuery, named_rooms, parse_presence, parse_read_query, refuse_repeats
from trunkline.wire.request_head import RequestHead


def head(*query: tuple[str, str], last_event_id: str = "") -> RequestHead:
    headers = {b"last-event-id": last_event_id.encode()} if last_event_id else {}
    return RequestHead("/connect", list(query), headers)


def parse(*query: tuple[str, str], kind: Kind = "poll", room: str | None = None, **more: str) -> ReadQuery:
    made = head(*query, **more)
    return parse_read_query(made, room, Limits(), kind, parse_presence(made, Limits()))


def test_streams_begin_now_and_polls_with_the_last_messages() -> None:
    assert parse(("room", "a"), kind="websocket").joins == [("a", NOW)]
    assert parse(("room", "a"), kind="sse").joins == [("a", NOW)]
    assert parse(("room", "a")).joins == [("a", DEFAULT_START)]
    assert parse(("since", "5"), room="a").joins == [("a", Start("after", 5))]


def test_the_last_event_id_beats_the_url_on_event_streams_only() -> None:
    for kind, since in (("sse", 7), ("poll", 5), ("websocket", 5)):
        [(_, start)] = parse(("since", "5"), kind=kind, room="a", last_event_id="e.7").joins  # type: ignore[arg-type]
        assert start.number == since


def test_what_a_poll_asks() -> None:
    query = parse(("room", "a"), ("limit", "5000"), ("wait", "90"), ("live", "n-1"))
    assert (query.limit, query.wait_s, query.live, query.names_rooms) == (1000, 60, "n-1", True)
    plain = parse(room="a")
    assert (plain.limit, plain.wait_s, plain.live, plain.names_rooms) == (100, 0, None, False)


@pytest.mark.parametrize("text", ["-1", "1.5", "", "x", "٣", "0x1"])
def test_numbers(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(("limit", text), room="a")
    assert caught.value.code == "bad_limit"
    assert parse(("limit", "9" * 5000), room="a").limit == 1000


def test_what_must_be_permitted() -> None:
    query = parse(("room", "a"), ("room", "b"), ("presence", "watch"), ("in", "b"))
    assert list(query.needs()) == [("read", "a"), ("read", "b"), ("presence", "b")]
    assert query.rooms == ["a", "b"]


@pytest.mark.parametrize("name", sorted(ONCE))
def test_a_parameter_that_is_given_twice_is_refused(name: str) -> None:
    """Whether it is used or not, on every transport."""
    with pytest.raises(RequestError, match=f"{name} stands in the address more than once"):
        refuse_repeats(head((name, "1"), ("x", "1"), (name, "1")))
    refuse_repeats(head((name, "1"), ("room", "a"), ("room", "b")))
    assert named_rooms(head(("room", "a"), ("room", "b"))) == ["a", "b"]
