"""The same server twice: ours, and the ASGI application under another."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.access.support import COOKIE, ORIGIN, SECRET
from tests.support import TRANSPORTS, Server


def ours(store: str, folder: Path) -> Server:
    config = folder / "trunkline.toml"
    config.write_text(
        f'auth = "jwt"\nauth_cookie = "{COOKIE}"\norigins = ["{ORIGIN}"]\n'
        f'[jwt]\nsecret = "{SECRET}"\n[limits]\nauth_s = 1.0\n'
    )
    return Server("--config", str(config), store=store)


def uvicorn(store: str, folder: Path) -> Server:
    command = [sys.executable, "-m", "uvicorn", "tests.access.asgi_app:app", "--port", "PORT", "--log-level", "error"]
    return Server(store=store, command=command)


@pytest.fixture(scope="module", params=[ours, uvicorn], ids=["trunkline", "uvicorn"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("access")
    with request.param(f"sqlite:///{folder}/log.db", folder) as running:
        yield running


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)
