"""Findings, as JSON has them."""

import msgspec

from trunkline.core.finding import Finding, ok


def test_what_is_well_has_no_advice() -> None:
    assert msgspec.to_builtins(ok("a", "b")) == {"level": "ok", "what": "a", "text": "b"}
    assert msgspec.to_builtins(Finding("fault", "a", "b", "c"))["advice"] == "c"
