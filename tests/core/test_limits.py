import msgspec
import pytest

from trunkline.core.limits import RENAMED, Limits


@pytest.mark.parametrize("name", RENAMED)
def test_the_former_names_of_rates_still_count(name: str) -> None:
    limits = Limits(**{name: 7.0})  # type: ignore[arg-type]
    assert getattr(limits, name.removesuffix("_s") + "_per_s") == 7.0
    assert limits == msgspec.structs.replace(Limits(), **{name.removesuffix("_s") + "_per_s": 7.0})


def test_a_limit_that_there_is_not() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"nothing": 1}, Limits)
