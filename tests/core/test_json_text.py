"""What may be published, as JSON text; and that no text costs more than its size."""

import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.json_text import check_json, deeper_than
from trunkline.errors import RequestError

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(JSON, st.sampled_from([None, 2]))
def test_all_json_is_welcome(value: object, indent: int | None) -> None:
    """Whatever json writes is accepted, keeps its meaning, and comes out in one line."""
    text = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    checked = check_json(text, 1 << 20, 32)
    assert b"\n" not in checked
    assert json.loads(checked) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "bad_json"), (b"nope", "bad_json"), (b'"a', "bad_json"), (b"[1,]", "bad_json"), (b"01", "bad_json"),
        (b"NaN", "bad_json"), (b"1e999", "bad_json"), (b'"\xff"', "bad_json"), (b'"\\ud800"', "bad_json"),
        (b"1 2", "bad_json"), (b'"a\nb"', "bad_json"), (b"\xef\xbb\xbf1", "bad_json"),
        (b"[" * 33 + b"]" * 33, "too_deep"), (b"[" * 100_000, "too_large"), (b"[" * 60_000, "too_deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "too_deep"), (b'"' + b"x" * 65_536 + b'"', "too_large"),
    ],
)  # fmt: skip
def test_what_is_refused(text: bytes, code: str) -> None:
    """What some reader's parser could choke on never gets into a log."""
    with pytest.raises(RequestError) as caught:
        check_json(text, 65_536, 32)
    assert caught.value.code == code


def test_brackets_in_strings_are_not_depth() -> None:
    text = json.dumps(["[{" * 40, '\\"[[[' * 20]).encode()
    assert check_json(text, 65_536, 32) == text
    assert check_json(b"[" * 32 + b"]" * 32, 65_536, 32)


SIGN = st.sampled_from(["", "+", "-"])
DIGITS = st.text("0123456789", min_size=1, max_size=330)


@given(
    whole=st.just("0") | st.integers(1, 9).flatmap(lambda first: DIGITS.map(lambda rest: f"{first}{rest}")),
    fraction=st.none() | DIGITS,
    exponent=st.none() | st.tuples(st.sampled_from("eE"), SIGN, st.integers(0, 700), st.integers(0, 5)),
)
def test_a_number_is_refused_if_and_only_if_no_double_holds_it(
    whole: str, fraction: str | None, exponent: tuple[str, str, int, int] | None
) -> None:
    text = whole
    if fraction is not None:
        text += f".{fraction}"
    if exponent is not None:
        text += f"{exponent[0]}{exponent[1]}{'0' * exponent[3]}{exponent[2]}"
    holds = not math.isinf(float(text))
    for shape in ("%s", "-%s", '["x",{"a":%s}]'):
        refused = ""
        try:
            check_json((shape % text).encode(), 10_000, 32)
        except RequestError as error:
            refused = str(error)
        assert ("larger than a double can hold" in refused) is not holds


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("1.7976931348623157e308", True),
        ("1.7976931348623158e308", True),  # it rounds to the largest one
        ("1.7976931348623159e308", False),
        (str(2**1024 - 2**970 - 1), True),
        (str(2**1024 - 2**970), False),
        ("1" + "0" * 308, True),
        ("1" + "0" * 309, False),
        ("0." + "0" * 400 + "1e700", True),
        ("0e99999999999999999999", True),
        ("1e-99999999999999999999", True),
        ("1e" + "0" * 5000 + "308", True),
        ("1E+0309", False),
        ('"1e999"', True),
        ('{"1e999":"\\"1e999"}', True),
    ],
)
def test_at_the_border(text: str, holds: bool) -> None:
    if holds:
        assert check_json(text.encode(), 10_000, 32) == text.encode()
    else:
        with pytest.raises(RequestError, match="double"):
            check_json(text.encode(), 10_000, 32)


@given(JSON, st.integers(0, 6))
def test_depth_is_what_it_is(value: object, levels: int) -> None:
    def depth(value: object) -> int:
        inner = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert deeper_than(json.dumps(value).encode(), levels) is (depth(value) > levels)


SIZE = 64_000
COSTLY = {
    "numbers that are hard to round": b"[" + b"1e308," * (SIZE // 6) + b"1]",
    "different ones": b"[" + b",".join(b"%de300" % n for n in range(SIZE // 11)) + b"]",
    "denormal ones": b"[" + b"2.2250738585072012e-308," * (SIZE // 24) + b"1]",
    "long ones": b"9" * SIZE,
    "exponents with many zeros": b"1e" + b"0" * (SIZE - 10) + b"308",
    "small lists": b"[" + b"[]," * (SIZE // 3) + b"1]",
    "small objects": b"[" + b'{"a":{}},' * (SIZE // 9) + b"1]",
    "small strings": b"[" + b'"",' * (SIZE // 3) + b"[" * 20 + b"]" * 20 + b"," + b"[" * 20 + b"]" * 20 + b"]",
    "brackets": b"[" * (SIZE // 2) + b"]" * (SIZE // 2),
    "quotes that do not end": b'["' + b'\\"' * (SIZE // 2 - 30) + b"," + b"[" * 40,
    "backslashes": b'["' + b"\\\\" * (SIZE // 4) + b'",' + b"[" * 20 + b"]" * 20 + b"," + b"[" * 20 + b"]" * 20 + b"]",
    "letters that are not ASCII": ('["' + "\U0001f600" * (SIZE // 4) + '"]').encode(),
    "line breaks": b"[" + b"1,\n" * (SIZE // 3) + b"1]",
}


@pytest.mark.parametrize("name", COSTLY)
def test_no_text_costs_much_more_than_its_size(name: str) -> None:
    """Beside one parser that makes objects of a plain list of the same size: a text that costs more than some of those
    costs by its content."""
    plain = b"[" + b"123456," * (SIZE // 7) + b"1]"

    def cost(text: bytes) -> None:
        try:
            check_json(text, SIZE + 1000, 32)
        except RequestError:
            pass

    def fastest(work, times: int) -> float:  # type: ignore[no-untyped-def]
        best = math.inf
        for _ in range(times):
            began = time.process_time()
            work()
            best = min(best, time.process_time() - began)
        return best

    assert fastest(lambda: cost(COSTLY[name]), 5) < 30 * max(fastest(lambda: json.loads(plain), 5), 5e-4)
