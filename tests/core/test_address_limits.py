import pytest

from trunkline.core.address_limits import LOOPBACK, AddressLimits
from trunkline.core.limits import Limits
from trunkline.errors import RequestError

PROXY = "10.0.0.1"


def limits(**settings: float) -> AddressLimits:
    return AddressLimits(Limits(**settings), [*LOOPBACK, PROXY])  # type: ignore[arg-type]


def test_connections_are_counted_once() -> None:
    addresses = limits(connections_per_address_max=2)
    admissions = [addresses.admit("1.1.1.1", 0.0) for _ in range(3)]
    assert [admission.error and admission.error.code for admission in admissions] == [
        None, None, "too_many_connections",
    ]  # fmt: skip
    assert addresses.connections == 3
    for admission in admissions:
        admission.release()
        admission.release()
    assert addresses.connections == 0
    assert addresses.admit("1.1.1.1", 0.0).error is None


def test_so_many_refusals_are_answered_and_no_more() -> None:
    addresses = limits(connections_per_address_max=1, connects_per_address_burst=1000)
    admissions = [addresses.admit("1.1.1.1", 0.0) for _ in range(10)]
    assert [admission.must_drop for admission in admissions].count(True) > 0
    for admission in admissions[2:]:
        admission.release()
    assert not admissions[1].must_drop


def test_the_server_is_full() -> None:
    addresses = limits(connections_max=1)
    assert addresses.admit(None, 0.0).error is None
    error = addresses.admit(None, 0.0).error
    assert error is not None
    assert (error.code, error.retry_after_ms) == ("server_full", 5000)


def test_a_connection_is_counted_under_the_client_that_a_proxy_names() -> None:
    addresses = limits(connections_per_address_max=1)
    first, second = addresses.admit(None, 0.0), addresses.admit(None, 0.0)
    first.move("9.9.9.9", 0.0)
    with pytest.raises(RequestError, match="at most 1 connections"):
        second.move("9.9.9.9", 0.0)
    assert (first.key, second.key, addresses.connections) == ("9.9.9.9", None, 2)
    first.release()
    second.move("9.9.9.9", 0.0)
    assert second.key == "9.9.9.9"


def test_requests_have_a_rate() -> None:
    addresses = limits(requests_per_address_per_s=1, requests_per_address_burst=2)
    addresses.check_request_rate(None, 0.0, 1000)
    addresses.check_request_rate("1.1.1.1", 0.0, 2)
    with pytest.raises(RequestError) as caught:
        addresses.check_request_rate("1.1.1.1", 0.0)
    assert (caught.value.code, caught.value.retry_after_ms) == ("rate_limited", 1000)
    addresses.check_request_rate("1.1.1.1", 1.0)


def test_a_trusted_address_that_is_none() -> None:
    with pytest.raises(ValueError, match="localhost"):
        AddressLimits(Limits(), ["localhost"])
