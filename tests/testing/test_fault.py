"""A fault ends once."""

from trunkline.testing.fault import Fault


def test_a_fault_ends_once() -> None:
    ended: list[int] = []
    with Fault(lambda: ended.append(1)) as fault:
        assert not fault.is_over
    assert fault.is_over
    fault.end()
    assert ended == [1]
