"""What a test wants, and what it finds."""

from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.testing.matching import SHOWN_MAX, matches, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({}, {"b": 2}),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 2, "d": 3}], "e": 4}}),
        (..., None),
        ({"a": ...}, {"a": None}),
        ((1, 2), [1, 2]),
        (lambda data: data > 3, 4),
        (pytest.approx(0.3), 0.1 + 0.2),
        (1, 1.0),
        (ANY, True),
        ({"done": ANY}, {"done": False}),
        ({"done": lambda done: not done}, {"done": False}),
    ],
)
def test_a_part_of_it_is_enough(wanted: Any, found: Any) -> None:
    assert matches(wanted, found)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": ...}, {}),
        ([1], [1, 2]),
        ([1, 2], [2, 1]),
        (1, True),
        (False, 0),
        (None, 0),
        ({}, []),
        ([], {}),
        ("1", 1),
        (lambda data: data > 3, 3),
    ],
)
def test_what_differs_is_no_match(wanted: Any, found: Any) -> None:
    assert not matches(wanted, found)


@given(JSON)
def test_everything_is_like_itself(data: Any) -> None:
    assert matches(data, data)


@given(JSON, JSON)
def test_without_mappings_like_is_equal(wanted: Any, found: Any) -> None:
    """As JSON has it: true is not 1."""

    def has_mapping(value: Any) -> bool:
        return isinstance(value, dict) or (isinstance(value, list) and any(map(has_mapping, value)))

    if not has_mapping(wanted):
        assert matches(wanted, found) == (repr(wanted) == repr(found))


def test_a_coroutine_decides_nothing() -> None:
    """It would be true whatever it found."""

    async def never(data: Any) -> bool:
        return False

    with pytest.raises(TypeError, match="never is a coroutine function"):
        matches(never, 1)


def test_values_are_shown_in_a_line() -> None:
    assert shown({"a": "é"}) == '{"a": "é"}'
    assert shown(...) == "anything"
    assert shown(has_shipped) == "has_shipped"
    assert shown({1}) == "{1}"
    assert len(shown("x" * 1000)) == SHOWN_MAX + 1


def has_shipped(data: Any) -> bool:
    return bool(data)
