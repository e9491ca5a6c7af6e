"""Fixtures of the whole suite."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from hypothesis import settings

from .support import client

settings.register_profile("trunkline", deadline=None, max_examples=150)
settings.load_profile("trunkline")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without limits of its own."""
    async with client() as session:
        yield session
