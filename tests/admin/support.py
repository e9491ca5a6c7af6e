"""Servers with authentication, and an operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from tests.access.support import ADMIN, SECRET, bearer, token
from tests.support import Server

OPERATOR = bearer(token("ops", rooms=ADMIN))


def guarded(folder: Path, *arguments: str, store: str | None = None) -> Server:
    """A server that asks who you are."""
    config = folder / "guarded.toml"
    config.write_text(f'auth = "jwt"\n[jwt]\nsecret = "{SECRET}"\n')
    return Server("--config", str(config), *arguments, store=store or f"sqlite:///{folder}/log.db")


async def got(http: aiohttp.ClientSession, url: str, **options: Any) -> Any:
    """What an operator is answered."""
    async with http.get(url, headers=OPERATOR, **options) as response:
        assert response.status == 200, await response.text()
        return await response.json()
