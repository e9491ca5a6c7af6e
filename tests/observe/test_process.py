"""What the operating system says."""

import os
import time
from pathlib import Path

from trunkline.observe.process import process_figures


def test_figures_of_this_process() -> None:
    figures = process_figures(0)
    assert 0 < figures.started_at <= time.time()
    assert figures.cpu_s > 0
    assert figures.memory_bytes is not None
    assert figures.memory_bytes > 1_000_000
    with Path(os.devnull).open():
        assert figures.files is not None
        assert process_figures(0).files == figures.files + 1
    assert figures.files_max is not None


def test_files_of_which_there_are_very_many_are_not_listed(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    listed: list[str] = []

    def listdir(path: str) -> list[str]:
        listed.append(path)
        return []

    monkeypatch.setattr(os, "listdir", listdir)
    process_figures(100_000)
    assert listed == []
