"""The client in React Native: on its own WebSocket, fetch and AppState, and compiled by Hermes' own compiler."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT, Server

HERE = Path(__file__).with_name("react_native")
NODE_MODULES = HERE / "node_modules"
pytestmark = pytest.mark.skipif(not NODE_MODULES.is_dir(), reason="React Native is not installed (tools/foreign)")


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=HERE, env=os.environ | environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


def test_on_its_own_websocket_fetch_and_app_state() -> None:
    """In its Jest environment, whose native side is ours: background, foreground, another network."""
    package = NODE_MODULES / "trunkline"  # a copy: what lies elsewhere is not compiled by Babel
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "client" / "src", package / "src")
    shutil.copy(ROOT / "client" / "package.json", package)
    with Server(store="memory:") as server:
        said = run("node_modules/.bin/jest", "--forceExit", URL=server.url)
    assert re.search(r"Tests: +11 passed, 11 total", said), said


def test_hermes_compiles_the_bundle_in_which_nothing_is_loaded_later(tmp_path: Path) -> None:
    bundle = tmp_path / "trunkline.js"
    client = ROOT / "client"
    run(
        str(client / "node_modules" / ".bin" / "esbuild"), str(client / "src" / "react-native.js"), "--bundle",
        "--format=cjs", "--platform=neutral", "--target=es2022", "--external:react-native", f"--outfile={bundle}",
    )  # fmt: skip
    code = bundle.read_text()
    assert not re.search(r"\bimport\(|import\.meta|BroadcastChannel", code)
    compiler = NODE_MODULES / "hermes-compiler" / "hermesc" / "linux64-bin" / "hermesc"
    run(str(compiler), "-emit-binary", "-O", "-w", "-out", str(tmp_path / "trunkline.hbc"), str(bundle))
    assert (tmp_path / "trunkline.hbc").stat().st_size > 50_000
    # What is for browsers alone is loaded later there, and the compiler refuses that: so this test can fail.
    wrong = tmp_path / "wrong.js"
    wrong.write_text(code + "\nfunction later() { return import('./tabs.js'); }\n")
    refused = subprocess.run(
        [compiler, "-emit-binary", "-out", tmp_path / "wrong.hbc", wrong], capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
