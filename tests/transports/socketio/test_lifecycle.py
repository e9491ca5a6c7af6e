"""The table of a session's life."""

from trunkline.transports.socketio.lifecycle import TRANSITIONS, Event, State, can


def test_everything_can_end_and_nothing_comes_back() -> None:
    assert all(TRANSITIONS[state, Event.ENDED] is State.CLOSED for state in State)
    assert not [event for event in Event if event is not Event.ENDED and can(State.CLOSED, event)]


def test_a_websocket_carries_only_after_the_probe() -> None:
    assert not can(State.POLLING, Event.UPGRADED)
    assert TRANSITIONS[TRANSITIONS[State.POLLING, Event.PROBED], Event.UPGRADED] is State.WEBSOCKET
    assert not can(State.WEBSOCKET, Event.PROBED)
    assert TRANSITIONS[State.PROBING, Event.PROBE_ENDED] is State.POLLING


def test_every_state_is_reached() -> None:
    assert set(TRANSITIONS.values()) | {State.POLLING} == set(State)
