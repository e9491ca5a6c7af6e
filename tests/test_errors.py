import pytest

from trunkline import errors
from trunkline.errors import REQUEST_ERRORS, RequestError, StoreUnavailable, TrunklineError, error_headers, explain


@pytest.mark.parametrize("code", REQUEST_ERRORS)
def test_a_refusal_has_the_status_of_its_code(code: str) -> None:
    error = RequestError(code, "what was wrong", 1500)
    assert (error.code, error.status, str(error)) == (code, REQUEST_ERRORS[code], "what was wrong")
    headers = dict(error_headers(error))
    assert headers["Retry-After"] == "2"
    assert ("WWW-Authenticate" in headers) is (error.status == 401)


def test_all_of_ours_have_one_root() -> None:
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(found) > 5
    assert all(issubclass(value, TrunklineError) for value in found)


def test_a_log_line_has_the_cause() -> None:
    error = StoreUnavailable("the log could not be reached")
    assert explain(error) == "the log could not be reached"
    error.__cause__ = OSError("connection refused")
    assert explain(error) == "the log could not be reached (connection refused)"
