"""Commands and what they come to."""

import msgspec
import pytest

from trunkline.core import session as of
from trunkline.core.grant import UNAUTHENTICATED
from trunkline.core.limits import Limits
from trunkline.core.position import NOW, Start
from trunkline.core.presence_options import PresenceOptions
from trunkline.core.session import Command, Join, Leave, Pong, Publish, Refuse, Rejoin, Session
from trunkline.core.trace import Trace

decode = msgspec.json.Decoder(Command).decode


def session(*rooms: str, limits: Limits | None = None) -> Session:
    made = Session("s", UNAUTHENTICATED, limits or Limits())
    for room in rooms:
        made.receive(Command("join", room))
    return made


def ask(made: Session, text: str) -> object:
    return made.receive(decode(text.encode()))


def test_joining_and_leaving() -> None:
    made = session()
    assert ask(made, '{"type":"join","room":"a"}') == Join("a", NOW)
    assert ask(made, '{"type":"join","room":"a"}') == Rejoin("a")
    assert ask(made, '{"type":"join","room":"a","since":3}') == Join("a", Start("after", 3))
    assert ask(made, '{"type":"join","room":"b","last":5}') == Join("b", Start("last", 5))
    assert list(made.rooms) == ["a", "b"]
    assert ask(made, '{"type":"leave","room":"a"}') == Leave("a")
    assert ask(made, '{"type":"leave"}') == Leave("b")
    assert list(made.rooms) == []


def test_messages() -> None:
    """The room may be left out when one is joined; text is short for data."""
    made = session("a")
    assert ask(made, '{"type":"message","data":{"x": 1},"id":"k"}') == Publish("a", "k", b'{"x": 1}')
    assert ask(made, '{"type":"message","text":"Hello!"}') == Publish("a", None, b'{"text":"Hello!"}')
    assert ask(made, '{"type":"message","data":null}') == Publish("a", None, b"null")
    assert ask(made, '{"type":"message","room":"other","data":[1,\\n2]}'.replace("\\n", "\n")) == Publish(
        "other", None, b"[1,\n2]"
    )
    assert ask(made, '{"type":"ping"}') == Pong()


def test_a_message_with_a_trace() -> None:
    """One that is not valid costs no message."""
    made, parent = session("a"), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    trace = f'"traceparent":"{parent}","tracestate":"a=1"'
    expected = Publish("a", None, b"1", Trace(parent, "a=1"))
    assert ask(made, f'{{"type":"message","data":1,{trace}}}') == expected
    assert ask(made, '{"type":"message","data":1,"traceparent":"00","tracestate":"a=1"}') == Publish("a", None, b"1")


def test_what_is_true_only_now() -> None:
    """Presence, signals and read cursors; the room may be left out here, too."""
    made = session("a")
    seen, watched = PresenceOptions(watch=True, data=b'{"n":1}'), PresenceOptions(watch=True)
    assert ask(made, '{"type":"join","room":"b","presence":{"n":1}}') == Join("b", NOW, seen)
    assert ask(made, '{"type":"join","room":"b","presence":"watch"}') == Rejoin("b", watched)
    assert ask(made, '{"type":"join","room":"b","presence":true,"last":1}') == Join(
        "b", Start("last", 1), PresenceOptions(watch=True, data=b"{}")
    )
    assert ask(made, '{"type":"unread"}') == of.CountUnread(("a", "b"))
    assert ask(made, '{"type":"unread","rooms":["c","c"]}') == of.CountUnread(("c",))
    assert ask(made, '{"type":"leave","room":"b"}') == Leave("b")
    assert ask(made, '{"type":"signal","name":"typing"}') == of.SendSignal("a", "typing", b"null")
    assert ask(made, '{"type":"signal","room":"z","name":"p","data":[1,2]}') == of.SendSignal("z", "p", b"[1,2]")
    assert ask(made, '{"type":"seen","offset":3}') == of.MarkSeen("a", 3)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"type":"dance"}', "unknown_type"),
        ('{"type":""}', "unknown_type"),
        ('{"type":"__init__"}', "unknown_type"),
        ('{"type":"auth"}', "bad_command"),
        ('{"type":"signal","name":"typing"}', "room_required"),
        ('{"type":"signal","room":"a"}', "bad_command"),
        ('{"type":"signal","room":"a","name":"is typing"}', "bad_command"),
        ('{"type":"signal","room":"a","name":"x","data":"' + "x" * 5000 + '"}', "too_large"),
        ('{"type":"seen","offset":1}', "room_required"),
        ('{"type":"seen","room":"a"}', "bad_position"),
        ('{"type":"seen","room":"a","offset":-1}', "bad_position"),
        ('{"type":"unread","rooms":["a b"]}', "bad_room"),
        ('{"type":"unread","rooms":["a","b","c"]}', "too_many_rooms"),
        ('{"type":"join","room":"a","presence":1.5}', "bad_command"),
        ('{"type":"join","room":"a","presence":[1]}', "bad_command"),
        ('{"type":"join","room":"a","presence":{"x":"' + "x" * 1100 + '"}}', "too_large"),
        ('{"type":"join"}', "room_required"),
        ('{"type":"join","room":"a b"}', "bad_room"),
        ('{"type":"join","room":"c","since":"x"}', "bad_position"),
        ('{"type":"join","room":"c","since":1,"last":1}', "bad_position"),
        ('{"type":"join","room":"c"}', "too_many_rooms"),
        ('{"type":"leave","room":"c"}', "not_joined"),
        ('{"type":"leave"}', "room_required"),
        ('{"type":"message","data":1}', "room_required"),
        ('{"type":"message","room":"a"}', "bad_command"),
        ('{"type":"message","room":"a","data":1,"id":""}', "bad_id"),
    ],
)
def test_refusals(text: str, code: str) -> None:
    """Each names its code, and the session goes on as it was."""
    made = session("a", "b", limits=Limits(rooms_per_connection_max=2))
    decision = ask(made, text)
    assert isinstance(decision, Refuse)
    assert decision.error.code == code
    assert list(made.rooms) == ["a", "b"]


def test_a_refusal_carries_what_it_is_about() -> None:
    decision = ask(session("a"), '{"type":"message","room":"x y","id":"k","data":1}')
    assert isinstance(decision, Refuse)
    assert (decision.id, decision.room) == ("k", "x y")
