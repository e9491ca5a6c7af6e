"""Settings from four places."""

from pathlib import Path

import pytest

from trunkline.config import Config, load
from trunkline.errors import ConfigError


def test_defaults() -> None:
    assert load(None, {}, {}) == Config()


def test_flags_beat_environment_beats_file(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text('port = 1\nhost = "127.0.0.2"\nstore = "memory:"\n[limits]\nmessage_bytes_max = 1000\n')
    environment = {
        "TRUNKLINE_PORT": "2",
        "TRUNKLINE_HOST": "127.0.0.3",
        "TRUNKLINE_RETENTION__AGE_S": "60",
        "PATH": "x",
    }
    config = load(path, environment, {"port": 3, "host": None})
    assert (config.port, config.host, config.store) == (3, "127.0.0.3", "memory:")
    assert (config.limits.message_bytes_max, config.retention.age_s) == (1000, 60.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "unknown field `prot`"),
        ("port = 'x'", "Expected `int`"),
        ("[limits]\nmessage_bytes_max = 0", "limits.message_bytes_max must be more than 0"),
        ("[limits]\nnothing = 1", "unknown field `nothing`"),
        ("port = ", "Invalid value"),
        ('host = "0.0.0.0"', "--allow-anonymous"),
        ('host = "::"', "--allow-anonymous"),
    ],
)  # fmt: skip
def test_mistakes_name_the_setting(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(path, {}, {})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_permission(host: str) -> None:
    assert load(None, {}, {"host": host}).host == host


def test_elsewhere_needs_permission() -> None:
    assert load(None, {}, {"host": "0.0.0.0", "allow_anonymous": True}).host == "0.0.0.0"


def test_a_former_name_of_a_limit_is_of_its_source(tmp_path: Path) -> None:
    """The environment beats the file, whichever name each uses; both names in one source are a mistake."""
    file = tmp_path / "trunkline.toml"
    file.write_text("[limits]\nrequests_per_address_s = 5\n")
    name = "TRUNKLINE_LIMITS__REQUESTS_PER_ADDRESS"
    assert load(file, {}, {}).limits.requests_per_address_per_s == 5
    assert load(file, {f"{name}_PER_S": "9"}, {}).limits.requests_per_address_per_s == 9
    assert load(file, {f"{name}_S": "9"}, {}).limits.requests_per_address_per_s == 9
    with pytest.raises(ConfigError, match="one setting"):
        load(None, {f"{name}_S": "8", f"{name}_PER_S": "9"}, {})
    file.write_text("[limits]\nrequests_per_address_s = 5\nrequests_per_address_per_s = 6\n")
    with pytest.raises(ConfigError, match="one setting"):
        load(file, {}, {})
