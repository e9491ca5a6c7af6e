import pytest

from trunkline.core.attempt import Attempt, compare_attempts, parse_attempt
from trunkline.errors import RequestError


def test_streams_of_one_life_are_ordered() -> None:
    one, two = parse_attempt("life-1234.1"), parse_attempt("life-1234.2")
    assert compare_attempts(two, one, unknown=0) > 0
    assert compare_attempts(one, two, unknown=0) < 0
    assert compare_attempts(one, one, unknown=7) == 0


def test_those_of_two_lives_are_not() -> None:
    assert compare_attempts(Attempt("life-1234", 9), Attempt("life-5678", 1), unknown=-1) == -1
    assert compare_attempts(None, Attempt("life-5678", 1), unknown=1) == 1


@pytest.mark.parametrize("text", ["", "1", "short.1", "life-1234.", "life-1234.01", "life-1234.-1", f"{'x' * 65}.1"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_attempt(text)
    assert caught.value.code == "bad_command"
