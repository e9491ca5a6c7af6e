"""Refusals that pass, and those that do not."""

from trunkline.client.refusals import TEMPORARY, passes, pause_ms, rounded


def test_some_pass() -> None:
    """With a time all do; a draft that is refused because of a mistake is tried again, and a call is not."""
    assert passes({"code": "rate_limited"})
    assert passes({"code": "forbidden", "retry_after_ms": 100})
    assert passes({"code": "internal"})
    assert "internal" not in TEMPORARY
    assert not passes({"code": "too_large"})


def test_clients_do_not_come_back_at_one_moment() -> None:
    assert [pause_ms({"code": "overloaded"}, random) for random in (lambda: 0.0, lambda: 1.0)] == [1000, 2000]
    assert pause_ms({"code": "overloaded", "retry_after_ms": 100}, lambda: 0.5) == 150
    assert [rounded(ms) for ms in (0.4, 0.5, 1.5)] == [0, 1, 2]
