"""The soak, shortened: `make soak` runs 100,000 (R13)."""

import subprocess
import sys

from tests.support import ROOT


def test_nothing_stays_behind() -> None:
    command = [sys.executable, str(ROOT / "bench/soak.py"), "--cycles", "10000", "--growth", "0.25"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "held: 1 socket (ours), 0 streams, 0 guests" in result.stdout
