"""docs/fastapi.md, docs/django.md and docs/flask.md: their projects, as they stand, tested and in a browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import CHROMIUM, browser
from tests.support import ROOT, Server, free_port

__all__ = ["browser"]  # a fixture

BIN = Path(sys.executable).parent
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, file (if the block says one) and text of each block of a page."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    found = []
    for language, code in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL):
        name = re.match(r"(?:# |<!-- )([\w/]+\.\w+)(?: -->)?\n", code)
        found.append((language, name[1] if name else "", code))
    return found


def write(page: str, folder: Path) -> None:
    for _, name, code in blocks(page):
        if name:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)


def run(folder: Path, *command: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {}), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def run_scripts(page: str, folder: Path) -> None:
    """The snippets that are no file of the project."""
    for language, name, code in blocks(page):
        if language == "python" and not name:
            run(folder, sys.executable, "-W", "error", "-c", code)


def run_pytest(folder: Path) -> None:
    said = run(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "passed" in said


def test_the_tests_of_the_fastapi_application(tmp_path: Path) -> None:
    write("fastapi.md", tmp_path)
    run_pytest(tmp_path)
    assert not list(tmp_path.glob("rooms.db*")), "its own log is not touched"
    run(tmp_path, sys.executable, "-W", "error", "-c", "import rules")


@needs_browser
async def test_the_fastapi_application_in_a_browser(tmp_path: Path, browser: Browser) -> None:
    write("fastapi.md", tmp_path)
    command = [sys.executable, "-m", "trunkline", "run", "app:app", "--port", "PORT"]
    with Server(command=command, folder=tmp_path) as server:
        page = await browser.new_page()
        await page.goto(server.url)
        await page.get_by_placeholder("name").fill("ada")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("#state")).to_have_text("ada: online")
        answer = await page.request.post(f"{server.url}/orders/7/ship?customer=ada")
        assert await answer.json() == {"offset": 1}
        await expect(page.locator("#orders")).to_contain_text("shipped")


def test_the_tests_of_the_flask_application(tmp_path: Path) -> None:
    write("flask.md", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    run_pytest(tmp_path)
    run_scripts("flask.md", tmp_path)


@needs_browser
async def test_the_flask_application_in_a_browser(tmp_path: Path, browser: Browser) -> None:
    write("flask.md", tmp_path)
    flask = [sys.executable, "-m", "flask"]
    site_port, rooms_port = free_port(), free_port()
    settings = f'app.config["TRUNKLINE_URL"] = "http://127.0.0.1:{rooms_port}"\n'
    settings += f'app.config["TRUNKLINE_ORIGINS"] = ["http://127.0.0.1:{site_port}"]\n'
    text = (tmp_path / "app.py").read_text()
    (tmp_path / "app.py").write_text(text.replace("rooms = Rooms(app)", f"{settings}rooms = Rooms(app)"))
    rooms = [*flask, "trunkline", "serve", "--port", "PORT"]
    with (
        Server(command=rooms, folder=tmp_path, port=rooms_port),
        Server(command=[*flask, "run", "--port", "PORT"], folder=tmp_path, port=site_port) as site,
    ):
        page = await browser.new_page()
        await page.goto(site.url)
        await page.get_by_placeholder("name").fill("ada")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("#state")).to_have_text("online")
        answer = await page.request.post(f"{site.url}/orders/7/ship?customer=ada")
        assert await answer.json() == {"offset": 1}
        await expect(page.locator("#orders")).to_contain_text("shipped")


def make_django_project(folder: Path) -> None:
    run(folder, str(BIN / "django-admin"), "startproject", "shop", ".")
    run(folder, sys.executable, "manage.py", "startapp", "orders")
    made = (folder / "shop" / "settings.py").read_text()
    shutil.rmtree(folder / "orders" / "migrations" / "__pycache__", ignore_errors=True)
    write("django.md", folder)
    ours = (folder / "shop" / "settings.py").read_text()
    (folder / "shop" / "settings.py").write_text(f"{made}\n{ours}")
    [pay] = [code for _, name, code in blocks("outbox.md") if name == "views.py"]
    (folder / "orders" / "paying.py").write_text(pay)
    run(folder, sys.executable, "manage.py", "makemigrations", "orders")


def test_the_tests_of_the_django_site(tmp_path: Path) -> None:
    make_django_project(tmp_path)
    assert "no issues" in run(tmp_path, sys.executable, "manage.py", "check")
    said = run(tmp_path, sys.executable, "manage.py", "test")
    assert re.search(r"Ran 2 tests in .*\n\nOK", said), said
    run(tmp_path, sys.executable, "manage.py", "shell", "-c", "import orders.paying, orders.published")
    run(tmp_path, sys.executable, "manage.py", "check", "--settings", "shop.wsgi_settings")


@needs_browser
async def test_the_django_site_in_a_browser(tmp_path: Path, browser: Browser) -> None:
    make_django_project(tmp_path)
    manage = [sys.executable, "manage.py"]
    run(tmp_path, *manage, "migrate", "--verbosity=0")
    named = {
        f"DJANGO_SUPERUSER_{name}": value
        for name, value in [("USERNAME", "ada"), ("PASSWORD", "ada"), ("EMAIL", "ada@example.com")]
    }
    run(tmp_path, *manage, "createsuperuser", "--noinput", environment=named)
    text = (ROOT / "docs" / "django.md").read_text("utf-8")
    made, shipped = re.findall(r'python manage.py shell -c "(.*?)"`', text)
    run(tmp_path, *manage, "shell", "-c", made)
    with Server(command=[*manage, "runserver", "--noreload", "PORT"], folder=tmp_path) as server:
        page = await (await browser.new_context()).new_page()
        await page.goto(server.url)
        await page.get_by_label("Username").fill("ada")
        await page.get_by_label("Password").fill("ada")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("#state")).to_have_text("online")
        await expect(page.locator("#order-1")).to_have_text("1: ordered")
        run(tmp_path, *manage, "shell", "-c", shipped)
        await expect(page.locator("#order-1")).to_have_text("1: shipped")
        tab = await page.context.new_page()
        await tab.goto(server.url)
        await tab.get_by_role("button", name="Sign out").click()
        await expect(page.locator("#state")).to_have_text("closed")
