"""The packages as they are published: built, installed where there is nothing else, and used."""

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import async_playwright, expect

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.support import ROOT, Server

pytestmark = [pytest.mark.timeout(300), pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]

WAIT_MS = 15_000


def run(*command: object, folder: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the sources, and a wheel that was made of that archive and nothing else."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, folder=ROOT)
    return folder


@pytest.fixture(params=["wheel", "sdist"], scope="module")
def installed(request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment that has the package and what it names, outside the checkout."""
    folder = tmp_path_factory.mktemp(request.param)
    venv.create(folder / "env", with_pip=True)
    [package] = built.glob("*.whl" if request.param == "wheel" else "*.tar.gz")
    run(folder / "env/bin/pip", "install", "--quiet", "--disable-pip-version-check", package, folder=folder)
    yield folder
    shutil.rmtree(folder)


async def test_the_server_of_an_installed_package_serves_the_chat(installed: Path) -> None:
    command = [str(installed / "env/bin/trunkline"), "serve", "--port", "PORT", "--store", "sqlite:///chat.db"]
    assert run(installed / "env/bin/trunkline", "--version", folder=installed).startswith("trunkline ")
    with Server(command=command, folder=installed) as server:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = await browser.new_page()
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.goto(f"{server.url}/#general")
            await page.locator("#name").fill("ana")
            await page.keyboard.press("Enter")
            await page.locator("#text").fill("Hello!")
            await page.locator("#text").press("Enter")
            await expect(page.locator("li.mine .fate")).to_contain_text("stored", timeout=WAIT_MS)
            for path in ("live", "lab"):
                await page.goto(f"{server.url}/{path}")
                await expect(page.locator(".state[data-state=open]").first).to_be_visible(timeout=WAIT_MS)
            await browser.close()
            assert errors == []
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{server.url}/client/tabs.js") as response:
                assert response.status == 200
            async with http.get(f"{server.url}/rooms/general?since=start") as response:
                [message] = (await response.json())["messages"]
                assert message["data"]["text"] == "Hello!"
    code = "import trunkline, trunkline.testing.store_contract; print(trunkline.__file__)"
    assert str(installed) in run(installed / "env/bin/python", "-c", code, folder=installed)


def test_the_test_kit_of_an_installed_package(built: Path, installed: Path, tmp_path: Path) -> None:
    """The extra brings all that it needs, and pytest finds the plugin by itself."""
    [package] = built.glob("*.whl" if installed.name.startswith("wheel") else "*.tar.gz")
    run(installed / "env/bin/pip", "install", "--quiet", f"trunkline[testing] @ file://{package}", folder=installed)
    (tmp_path / "test_it.py").write_text(
        "def test_it(blocking_hub):\n"
        "    reader = blocking_hub.reader('r')\n"
        "    blocking_hub.publish('r', 1)\n"
        "    reader.expect(1)\n"
    )
    assert "1 passed" in run(installed / "env/bin/python", "-m", "pytest", "-q", folder=tmp_path)


USER = """
import { connect, TrunklineError, type Room } from "trunkline";
import { useRoom } from "trunkline/react";

const room: Room = connect("https://rooms.example.com").room("general", { last: 50 });
room.on("message", ({ offset, data }) => console.log(offset.toFixed(), data));
room.publish({ text: "Hello!" }).catch((error: TrunklineError) => error.code);
// @ts-expect-error there is no such event
room.on("massage", () => {});
export { useRoom };
"""


@pytest.mark.parametrize("resolution", ["nodenext", "bundler"])
@pytest.mark.parametrize("source", ["tarball", "clone"])
def test_typescript_knows_the_client(tmp_path: Path, source: str, resolution: str) -> None:
    """From the tarball, and from a clone that nobody has built anything in; under `strict`, and nothing is skipped."""
    clone = tmp_path / "clone"
    tracked = run("git", "ls-files", "-zco", "--exclude-standard", "client", "tsconfig.json", folder=ROOT).split("\0")
    for name in filter(None, tracked):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    target = clone / "client"
    if source == "tarball":
        (tmp_path / "packed").mkdir()
        run("npm", "pack", "--silent", "--pack-destination", tmp_path / "packed", folder=target)
        [target] = (tmp_path / "packed").glob("*.tgz")
    user = tmp_path / "user"
    user.mkdir()
    (user / "package.json").write_text('{"type": "module", "private": true}')
    run("npm", "install", "--silent", "--no-audit", "--no-fund", target, "@types/react@19", folder=user)
    (user / "user.ts").write_text(USER)
    options = {
        "strict": True,
        "noEmit": True,
        "skipLibCheck": False,
        "target": "es2022",
        "lib": ["es2023", "dom", "dom.iterable"],
        "types": [],
        "module": "nodenext" if resolution == "nodenext" else "esnext",
        "moduleResolution": resolution,
    }
    (user / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["user.ts"]}))
    run(ROOT / "client/node_modules/.bin/tsc", "-p", ".", folder=user)
    script = 'import { connect } from "trunkline"; console.log(typeof connect)'
    assert run("node", "--input-type=module", "-e", script, folder=user) == "function\n"
