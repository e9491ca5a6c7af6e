"""examples/notifications: a Django site with its rooms, on Django's own development server and on `trunkline run`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import CHROMIUM, browser
from tests.support import ROOT, WAIT_S, Server

__all__ = ["browser"]  # a fixture

FOLDER = ROOT / "examples" / "notifications"
LINES_MAX = 10


def manage(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=FOLDER,
        env=os.environ | {"BOARD_FOLDER": str(folder)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


RUNSERVER = [sys.executable, "manage.py", "runserver", "--noreload", "PORT"]
TRUNKLINE_RUN = [sys.executable, "-m", "trunkline", "run", "board.asgi:application", "--port", "PORT"]


@pytest.fixture(params=[RUNSERVER, TRUNKLINE_RUN], ids=["runserver", "run"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    manage(tmp_path, "migrate", "--verbosity=0")
    manage(tmp_path, "people")
    with Server(command=request.param, folder=FOLDER, environment={"BOARD_FOLDER": str(tmp_path)}) as running:
        yield running


async def signed_in(browser: Browser, url: str, name: str) -> Page:
    page = await (await browser.new_context()).new_page()
    await page.goto(url)
    await page.get_by_label("Username").fill(name)
    await page.get_by_label("Password").fill(name)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#state")).to_have_text("online")
    return page


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_a_notice_reaches_whom_it_is_for(server: Server, browser: Browser) -> None:
    ada, bob, carla = [await signed_in(browser, server.url, name) for name in ("ada", "bob", "carla")]
    await ada.locator("select").select_option(label="bob")
    await ada.get_by_label("What to tell").fill("The kettle is on")
    await ada.get_by_role("button", name="Tell").click()
    await expect(bob.locator("#notices li")).to_have_text(["ada The kettle is on"])
    await expect(bob.locator("#badge")).to_have_text("1")
    await bob.locator("#bell").click()
    await expect(bob.locator("#badge")).to_be_hidden()
    await bob.reload()
    await expect(bob.locator("#notices li")).to_have_text(["ada The kettle is on"])
    await expect(carla.locator("#none")).to_be_visible()
    # The admin's page shows the room and what is in it.
    await carla.goto(f"{server.url}/admin/trunkline/room/")
    await carla.get_by_role("link", name="notices:2").click()
    await expect(carla.locator("code")).to_contain_text("The kettle is on")
    # Who signs out is gone from the rooms, in all tabs.
    tab = await bob.context.new_page()
    await tab.goto(server.url)
    await expect(tab.locator("#state")).to_have_text("online")
    await bob.get_by_role("button", name="Sign out").click()
    await expect(tab.locator("#state")).to_have_text("closed")


def test_it_needs_few_lines_of_trunkline() -> None:
    ours = re.compile(r"trunkline|publish_on_commit|with_rooms|TRUNKLINE|\bclient\.room|\bhub\b")
    lines = []
    for path in sorted((FOLDER / "board").rglob("*")):
        if path.suffix in (".py", ".html"):
            text = re.sub(r'"""[\s\S]*?"""', "", path.read_text())
            lines += [line for line in text.splitlines() if ours.search(line)]
    assert 5 < len(lines) <= LINES_MAX, "\n".join(lines)
    marked = {line for line in lines if "rooms" in line}
    assert len(marked) >= 6
