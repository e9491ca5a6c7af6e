import msgspec
import pytest

from trunkline.errors import RequestError
from trunkline.transports.endpoints.bodies import decoded


class Shape(msgspec.Struct):
    n: int


DECODE = msgspec.json.Decoder(Shape).decode


def test_a_body_that_is_what_it_should_be() -> None:
    assert decoded(DECODE, b'{"n": 1}', '{"n": …}') == Shape(1)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"n": "1"}', b"\xff", b'{"n": 1}x'])
def test_another_one_is_refused_with_the_shape_that_is_wanted(body: bytes) -> None:
    with pytest.raises(RequestError, match='the body is {"n": …}') as caught:
        decoded(DECODE, body, '{"n": …}')
    assert caught.value.code == "bad_json"


def test_a_body_that_is_too_deep() -> None:
    deep = msgspec.json.Decoder().decode
    with pytest.raises(RequestError) as caught:
        decoded(deep, b"[" * 100_000 + b"]" * 100_000, "anything")
    assert caught.value.code == "too_deep"
