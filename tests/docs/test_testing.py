"""docs/testing.md: its project, as it stands, in a folder of its own."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

TEXT = (ROOT / "docs" / "testing.md").read_text("utf-8")
FILES = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", TEXT, re.DOTALL)
[SETTINGS] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
[FAILURE] = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)


def project(folder: Path) -> None:
    # Starlette says which package its TestClient would rather be built on.
    settings = SETTINGS.replace('["error"]', '["error", "ignore:Using .httpx. with"]')
    assert settings != SETTINGS
    (folder / "pyproject.toml").write_text(settings)
    for name, code in FILES:
        (folder / name).write_text(code)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_all_of_it_passes(tmp_path: Path) -> None:
    project(tmp_path)
    ended = run(tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert TEXT.count("```python\n") == len(FILES)
    assert len(FILES) > 10
    # Only the real server, in the test with a browser, has a log of its own.
    assert {path.name for path in tmp_path.glob("*.db")} == {"shop.db"}


def test_without_the_publish_it_fails_with_that_text(tmp_path: Path) -> None:
    project(tmp_path)
    shop = (tmp_path / "shop.py").read_text()
    without = re.sub(r"    receipt = await .*\n    return .*", "    return {}", shop)
    assert without != shop
    (tmp_path / "shop.py").write_text(without)
    ended = run(tmp_path, "test_shop.py", "test_tunnel.py")
    assert "5 failed" in ended.stdout
    shown = "".join(
        f"E       {'AssertionError: ' if n == 0 else ''}{line}\n" for n, line in enumerate(FAILURE.splitlines())
    )
    assert shown in ended.stdout


def test_the_test_of_the_tunnel_is_short() -> None:
    """Ten lines, imports included."""
    [code] = [code for name, code in FILES if name == "test_tunnel.py"]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 10
