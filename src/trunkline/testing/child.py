"""A module run as a child that does not outlive its parent: `python -m trunkline.testing.child MODULE ARGUMENTS…`.

Its parent holds the other end of its standard input. When that ends, for whatever reason, so does the child: first as
on SIGTERM, and if that takes too long, at once.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

STOP_S = 5.0


def _end_with_the_parent() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_S)
    os._exit(1)


def main() -> None:
    """Run the module."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
