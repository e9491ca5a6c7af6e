"""`python -m tests.fuzz TARGET SECONDS`: search for inputs that a parser cannot take, guided by coverage (atheris).

Prints the finding and leaves the input in the current directory as `crash-…`; exit code 1.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trunkline"]):
    from tests.fuzz.targets import SEEDS, TARGETS


def main() -> None:
    name, seconds = sys.argv[1], sys.argv[2]
    target = TARGETS[name]
    corpus = tempfile.mkdtemp(prefix="trunkline-fuzz-")
    for number, seed in enumerate(SEEDS[name]):
        Path(corpus, str(number)).write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-rss_limit_mb=1024",
        "-timeout=5",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, corpus], target)
    atheris.Fuzz()


main()
