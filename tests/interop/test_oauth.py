"""examples/oauth with a certified OpenID provider: sign in, renew over a change of keys, sign out."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import CHROMIUM, browser
from tests.support import ROOT, Server, eventually, free_port

__all__ = ["browser"]  # a fixture

HERE = Path(__file__).with_name("oidc")
TTL_S = 24  # so that a token is renewed more than ten seconds behind the fetch of the keys that sign it
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or not (HERE / "node_modules").is_dir(), reason="chromium, or the provider, is not installed"
)


class Site(NamedTuple):
    """The provider and the application."""

    provider: Server
    app: Server


@pytest.fixture
def site() -> Iterator[Site]:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    environment = {"APP": origin, "TTL": str(TTL_S), "PORT": "PORT"}
    with Server(command=["node", "provider.mjs"], folder=HERE, environment=environment) as provider:
        environment = {"PROVIDER": provider.url, "CLIENT": "spa", "AUDIENCE": "https://rooms.example"}
        command = [sys.executable, "-m", "trunkline", "run", "examples.oauth.app:app", "--port", "PORT"]
        with Server(command=command, folder=ROOT, environment=environment, port=port) as app:
            yield Site(provider, app)


async def signed_in(browser: Browser, site: Site, name: str) -> Page:
    page = await (await browser.new_context()).new_page()
    await page.goto(site.app.url)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill("secret")
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Allow").click()
    await expect(page.locator("#state")).to_have_text(f"{name}, online")
    return page


def key_of(token: str) -> str:
    return str(json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))["kid"])


async def test_a_user_signs_in_stays_over_a_change_of_keys_and_signs_out(
    site: Site, browser: Browser, http: aiohttp.ClientSession
) -> None:
    ana, ben = [await signed_in(browser, site, name) for name in ("ana", "ben")]
    keys: list[str] = []  # of the tokens that ana's page was given

    async def keep(response: Any) -> None:
        if response.url.endswith("/token") and response.ok:
            keys.append(key_of((await response.json())["access_token"]))

    states: list[str] = []
    await ana.expose_function("told", lambda text: states.append(text))  # noqa: PLW0108 - no built-in one will do
    watching = "new MutationObserver(() => told($.textContent)).observe($, { childList: true })"
    await ana.evaluate(f"const $ = document.getElementById('state'); {watching}")
    ana.on("response", keep)

    async def say(page: Page, text: str) -> None:
        await page.get_by_label("Message").fill(text)
        await page.get_by_role("button", name="Send").click()
        for each in (ana, ben):
            await expect(each.locator("#lines")).to_contain_text(text)

    async def change(what: str) -> None:
        async with http.post(f"{site.provider.url}/keys/{what}") as response:
            assert response.status == 200

    await say(ana, "before")
    await change("publish")
    await change("sign")
    await say(ben, "a new key signs, and the tokens of before are good")
    await eventually(lambda: "key-2" in keys, 2 * TTL_S)
    await say(ana, "with a token of the new key")
    await change("remove")
    await eventually(lambda: keys.count("key-2") >= 2, 2 * TTL_S)
    await say(ben, "the old key is forgotten")
    assert states == [], "the connection was never interrupted"

    async with ana.context.expect_page() as opened:
        await ana.get_by_role("button", name="Sign out").click()
    tab = await opened.value
    await tab.get_by_role("button", name="Yes, sign out").click()
    await expect(ana.locator("#state")).to_contain_text("signed out")
    await expect(ben.locator("#state")).to_have_text("ben, online")
    await ben.get_by_label("Message").fill("still here")
    await ben.get_by_role("button", name="Send").click()
    await expect(ben.locator("#lines")).to_contain_text("still here")


async def test_who_has_not_signed_in_is_not_let_in(site: Site, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{site.app.url}/realtime/rooms/chat:1") as response:
        assert response.status == 401
    async with http.post(f"{site.app.url}/session-ended", data={"logout_token": "e30.e30."}) as response:
        assert response.status == 400
