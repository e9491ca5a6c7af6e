"""A child that does not outlive its parent."""

import subprocess
import sys
from pathlib import Path

from tests.support import until

CODE = """
import os
from trunkline.testing import LiveServer

server = LiveServer().__enter__()
print(server._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_server_does_not_outlive_its_parent() -> None:
    """However that ends."""
    ended = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    child = int(ended.stdout)
    until(lambda: not _is_alive(child), "the child ends")


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
