"""A few seconds of fuzzing for each parser; `make fuzz` goes on for minutes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import SEEDS, TARGETS
from tests.support import ROOT

SECONDS = 2


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_no_finding(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.fuzz", name, str(SECONDS)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, timeout=100
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    runs = re.search(r"number_of_executed_units:\s*(\d+)", result.stderr)
    assert runs is not None
    assert int(runs[1]) > 100
