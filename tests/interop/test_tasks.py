"""Publishing from task queues and from behind gunicorn: processes that are forked, and that end without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from playwright.async_api import async_playwright, expect

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.redis_servers import RedisServer
from tests.support import ROOT, WAIT_S, Server, free_port, until
from trunkline.backend import Backend
from trunkline.client.http_request import send

SECRET = "a secret of the tests that is long enough"
COUNT = 20


class Site(NamedTuple):
    """A server, and what a worker is told of it."""

    server: Server
    environment: dict[str, str]
    broker: str

    def numbers(self, room: str) -> list[int]:
        token = Backend(self.server.url, secret=SECRET).token("reader", {"read": ["*"]})
        address = f"{self.server.url}/rooms/{room}?since=start&limit=1000"
        with send(address, token=token, timeout_s=10) as response:
            answer = json.load(response)
        return sorted(message["data"] for message in answer["messages"])

    def has_all(self, room: str) -> bool:
        return self.numbers(room) == list(range(COUNT))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with RedisServer(tmp_path) as broker:
        store = f"sqlite:///{tmp_path}/rooms.db?shared=1"
        environment = {"TRUNKLINE_JWT__SECRET": SECRET}
        with Server("--auth", "jwt", store=store, environment=environment) as server:
            more = {"BROKER": broker.url, "LOG": store, "ROOMS": server.url, "SECRET": SECRET, "PYTHONPATH": str(ROOT)}
            yield Site(server, {**os.environ, **more}, broker.url)


def run(command: list[str], site: Site) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=ROOT, env=site.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def end(process: subprocess.Popen[str]) -> str:
    process.terminate()
    try:
        return process.communicate(timeout=WAIT_S)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]


def test_tasks_of_celery_publish_each_message_once(site: Site) -> None:
    enqueue = (
        "from tests.interop.tasks.celery_app import by_hub, by_http\n"
        f"for n in range({COUNT}): by_hub.delay(n); by_http.delay(n)"
    )
    subprocess.run([sys.executable, "-c", enqueue], cwd=ROOT, env=site.environment, check=True, timeout=60)
    worker = run(
        [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "tests.interop.tasks.celery_app",
            "worker",
            "-c",
            "2",
            "--loglevel=info",
        ],
        site,
    )
    try:
        for room in ("by-hub", "by-http"):
            until(partial(site.has_all, room), f"all of {room} are there", 60)
    finally:
        said = end(worker)
    assert "Traceback" not in said, said


def test_jobs_of_rq_publish_each_message_once(site: Site) -> None:
    from rq import Queue

    with redis.Redis.from_url(site.broker) as connection:
        queue = Queue(connection=connection)
        for n in range(COUNT // 4):  # each is a process
            queue.enqueue("tests.interop.tasks.rq_jobs.by_hub", n)
            queue.enqueue("tests.interop.tasks.rq_jobs.by_http", n)
    worker = run([sys.executable, "-m", "rq.cli", "worker", "--burst", "--url", site.broker], site)
    said, _ = worker.communicate(timeout=100)
    assert worker.returncode == 0, said
    assert site.numbers("by-hub") == site.numbers("by-http") == list(range(COUNT // 4)), said


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_a_django_site_behind_gunicorn_beside_its_server(tmp_path: Path) -> None:
    """Pages, sessions and commits are the site's; the browser's stream is the server's, with a token of the site."""
    folder = ROOT / "examples" / "notifications"
    rooms_port, site_port = free_port(), free_port()
    environment: dict[str, Any] = {
        "BOARD_FOLDER": str(tmp_path),
        "BOARD_SECRET": SECRET,
        "ROOMS": f"http://localhost:{rooms_port}",
        "SITE": f"http://localhost:{site_port}",
        "DJANGO_SETTINGS_MODULE": "tests.interop.tasks.wsgi_settings",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
    }
    for command in (["migrate", "--verbosity=0"], ["people"]):
        subprocess.run(
            [sys.executable, "manage.py", *command], cwd=folder, env=os.environ | environment, check=True, timeout=60
        )
    serve = [sys.executable, "manage.py", "trunkline_server", "--host", "127.0.0.1"]
    serve += ["--store", f"sqlite:///{tmp_path}/r.db"]
    gunicorn = [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{site_port}", "--preload"]
    application = "django.core.wsgi:get_wsgi_application()"
    more: dict[str, Any] = {"folder": folder, "environment": environment}
    with (
        Server(command=serve, port=rooms_port, **more),
        Server(command=[*gunicorn, application], port=site_port, **more),
    ):
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            pages = []
            for name in ("ada", "bob"):
                page = await (await browser.new_context()).new_page()
                await page.goto(environment["SITE"])
                await page.get_by_label("Username").fill(name)
                await page.get_by_label("Password").fill(name)
                await page.get_by_role("button", name="Sign in").click()
                await expect(page.locator("#state")).to_have_text("online")
                pages.append(page)
            ada, bob = pages
            await ada.locator("select").select_option(label="bob")
            await ada.get_by_label("What to tell").fill("hello")
            await ada.get_by_role("button", name="Tell").click()
            await expect(bob.locator("#notices li")).to_have_text(["ada hello"])
            tab = await bob.context.new_page()
            await tab.goto(environment["SITE"])
            await expect(tab.locator("#state")).to_have_text("online")
            await bob.get_by_role("button", name="Sign out").click()
            await expect(tab.locator("#state")).to_have_text("closed")
            await browser.close()
