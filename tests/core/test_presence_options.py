import pytest

from trunkline.core.grant import UNAUTHENTICATED, Grant
from trunkline.core.presence_options import (
    NO_PRESENCE,
    PresenceOptions,
    lasting_member,
    member_of,
    parse_presence,
    parse_presence_options,
)
from trunkline.errors import RequestError


def test_what_a_url_asks() -> None:
    assert parse_presence_options([("room", "a"), ("presence", "0")]) is NO_PRESENCE
    watch = parse_presence_options([("presence", "watch"), ("client", "client-1")])
    assert watch == PresenceOptions("client-1", True)
    shown = parse_presence_options([("presence", '{"name":"Ana"}')])
    assert (shown.watch, shown.data, shown.is_visible) == (True, b'{"name":"Ana"}', True)


def test_options_for_some_rooms() -> None:
    options = parse_presence_options([("presence", "1"), ("in", "a,b"), ("presence", "watch"), ("in", "c")])
    assert (options.for_room("a").data, options.for_room("c").data, options.for_room("c").watch) == (b"{}", None, True)
    assert options.for_room("d") == PresenceOptions()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ([("client", "short")], "bad_command"),
        ([("presence", "[1]")], "bad_command"),
        ([("presence", "{")], "bad_json"),
        ([("presence", '{"x":"' + "x" * 1100 + '"}')], "too_large"),
        ([("presence", "1"), ("in", "a,b,c")], "too_many_rooms"),
        ([("presence", "1")] * 101, "bad_command"),
    ],
)
def test_what_cannot_be_asked(query: list[tuple[str, str]], code: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_presence_options(query, 2)
    assert caught.value.code == code


def test_what_a_join_asks() -> None:
    assert parse_presence(b"false") is NO_PRESENCE
    assert parse_presence(b'"watch"') == PresenceOptions(watch=True)
    assert parse_presence(b"true").data == b"{}"


def test_members() -> None:
    assert member_of(Grant(user="ana"), "client-1") == "ana"
    name = member_of(UNAUTHENTICATED, "client-1")
    assert name.startswith("~")
    assert "client-1" not in name
    assert lasting_member(UNAUTHENTICATED, "client-1") == name
    with pytest.raises(RequestError):
        lasting_member(UNAUTHENTICATED, None)
