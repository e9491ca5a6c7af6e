"""Whether a Python was built for speed, by what builds say of themselves."""

import sysconfig

import pytest

from trunkline.server.interpreter import is_optimised

USES = "-fprofile-use -fprofile-correction"


@pytest.mark.parametrize(
    ("arguments", "flags", "optimised"),
    [
        ("'--prefix=/root/.pyenv/versions/3.11.7' '--enable-shared'", USES, False),
        ("'--enable-optimizations' '--with-lto'", USES, True),
        ("'--enable-shared' '--prefix=/usr' '--with-dtrace'", "", True),  # Debian
        ("'--enable-shared' '--prefix=/usr' '--with-dtrace'", None, True),
        (None, None, True),  # Windows says nothing
    ],
)
def test_builds(monkeypatch: pytest.MonkeyPatch, arguments: str | None, flags: str | None, optimised: bool) -> None:
    said = {"CONFIG_ARGS": arguments, "PGO_PROF_USE_FLAG": flags}
    monkeypatch.setattr(sysconfig, "get_config_var", said.get)
    assert is_optimised() is optimised
