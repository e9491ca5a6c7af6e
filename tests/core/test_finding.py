"""Findings, as JSON has them."""

import msgspec
import pytest

from trunkline.core.finding import Finding, ahead, clock_finding, ok


def test_what_is_well_has_no_advice() -> None:
    assert msgspec.to_builtins(ok("a", "b")) == {"level": "ok", "what": "a", "text": "b"}
    assert msgspec.to_builtins(Finding("fault", "a", "b", "c"))["advice"] == "c"


@pytest.mark.parametrize(
    ("theirs", "level"), [(100.0, "ok"), (101.0, "ok"), (98.0, "ok"), (160.0, "warning"), (40, "warning")]
)
def test_clocks(theirs: float, level: str) -> None:
    ahead_s = ahead(theirs, 100.2, 100.4, resolution_s=1.0)
    assert clock_finding("the clock", ahead_s, allowed_s=2.0).level == level
