import pytest

from trunkline.core.close_codes import DISMISSALS, CloseCode, Then, after_close
from trunkline.errors import REQUEST_ERRORS


def test_every_dismissal_is_an_error_of_the_protocol() -> None:
    assert set(DISMISSALS) <= set(REQUEST_ERRORS)
    assert int(DISMISSALS["unauthorized"]) == int(CloseCode.UNAUTHORIZED) == 4100


@pytest.mark.parametrize(
    ("codes", "then"),
    [
        ([1000, 1001, 1006, 1011, 1012, 1013, 4000, 4099], Then.RETRY),
        ([4100, 4101, 4102, 4199], Then.REFRESH),
        ([1002, 1003, 1007, 1009, 1010, 4200, 4201, 4999], Then.GIVE_UP),
    ],
)
def test_codes_come_in_ranges(codes: list[int], then: Then) -> None:
    assert {after_close(code) for code in codes} == {then}
