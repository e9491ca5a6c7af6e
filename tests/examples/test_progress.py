"""examples/progress: a Flask application beside a server, in a browser; jobs go on while nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import CHROMIUM, browser
from tests.support import ROOT, Server

__all__ = ["browser"]  # a fixture

FLASK = [sys.executable, "-m", "flask", "--app", "examples.progress.app"]
LINES_MAX = 12


class Site(NamedTuple):
    """The application, and the server beside it."""

    app: Server
    rooms: Server


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    environment = {"PROGRESS_TRUNKLINE_STORE": f"sqlite:///{tmp_path}/rooms.db", "STEP_S": "0.1"}
    app_port = {"FLASK_RUN_PORT": "PORT"}
    rooms = Server(command=[*FLASK, "trunkline", "serve", "--port", "PORT"], environment=environment)
    with rooms:
        environment |= {"PROGRESS_TRUNKLINE_URL": rooms.url, **app_port}
        with Server(command=[*FLASK, "run"], environment=environment) as app:
            rooms.stop()  # now the origin of the pages is known
            rooms._environment["PROGRESS_TRUNKLINE_ORIGINS"] = f'["{app.url}"]'
            rooms.start()
            yield Site(app, rooms)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_progress_is_shown_also_to_who_comes_back(site: Site, browser: Browser) -> None:
    page = await (await browser.new_context()).new_page()
    await page.goto(site.app.url)
    await page.get_by_label("Name").fill("ada")
    await page.get_by_role("button", name="Enter").click()
    await expect(page.locator("#state")).to_have_text("online")
    await page.get_by_label("What to do").fill("count the stars")
    await page.get_by_role("button", name="Begin").click()
    await expect(page.locator("#jobs li")).to_contain_text("of 20")
    await page.reload()
    await expect(page.locator("#jobs li")).to_contain_text("count the stars")
    await expect(page.locator("#jobs li .dim")).to_have_text("done", timeout=15_000)
    # Another user sees none of it, and who has signed out gets no token any more.
    other = await (await browser.new_context()).new_page()
    await other.goto(site.app.url)
    await other.get_by_label("Name").fill("bob")
    await other.get_by_role("button", name="Enter").click()
    await expect(other.locator("#state")).to_have_text("online")
    await expect(other.locator("#none")).to_be_visible()
    await other.get_by_role("button", name="Sign out").click()
    answer = await other.request.get(f"{site.app.url}/trunkline/token")
    assert answer.status == 401


def test_it_needs_few_lines_of_trunkline() -> None:
    marked = [
        line
        for name in ("app.py", "templates/index.html")
        for line in (ROOT / "examples" / "progress" / name).read_text().splitlines()
        if line.endswith(("# rooms", "// rooms")) or "{{ trunkline() }}" in line
    ]
    assert 8 < len(marked) <= LINES_MAX
