"""A stand-alone server with the settings of the application that it runs beside: `manage.py trunkline_server`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from trunkline.access.issuer import Issuer
from trunkline.config import environment, load
from trunkline.server.log import set_up_log
from trunkline.server.server import serve

KEY_VARIABLES = ("TRUNKLINE_JWT__", "TRUNKLINE_AUTH")


def serve_beside(
    secret: str,
    announce: Callable[[str, str], None],
    *,
    host: str,
    port: int,
    store: str,
    origins: Sequence[str],
) -> None:
    """Run a server until SIGTERM or Ctrl-C. All other settings are in the environment (docs/configuration.md).

    Args:
        secret: What the application signs tokens with.
        announce: Called once with the address and the place of the data, when requests are answered.
        origins: Of the application's pages, if the server has another origin than they.

    Raises:
        ConfigError: A setting cannot be used: the address is taken, the store cannot be opened.
    """
    variables = {name: value for name, value in environment().items() if not name.startswith(KEY_VARIABLES)}
    given = {"auth": "jwt", "host": host, "port": port, "store": store, "origins": ",".join(origins)}
    config = msgspec.structs.replace(load(None, variables, given), jwt=Issuer(secret=secret))
    set_up_log(config.log_format, config.log_level)
    serve(config, announce)
