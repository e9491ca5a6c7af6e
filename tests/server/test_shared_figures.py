"""The metrics of workers, in memory that they share."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

import pytest

from trunkline.admin.figures import Family, Sample
from trunkline.server import shared_figures as module
from trunkline.server.shared_figures import SharedFigures, make_shared_figures


def family(value: float) -> Family:
    return Family("trunkline_x", "gauge", "X.", [Sample((("a", "b"),), value)])


@pytest.fixture
def file() -> Iterator[int]:
    made = make_shared_figures(3)
    yield made
    os.close(made)


def read(figures: SharedFigures, own: float, path: str = "") -> dict[str, float]:
    found = figures.of_workers(path, [family(own)])
    return {worker: float(families[0].samples[0].value) for worker, families in found.items()}  # type: ignore[arg-type]


def test_each_sees_all(file: int) -> None:
    first, second = SharedFigures(file, 0), SharedFigures(file, 1)
    assert read(first, 1.0) == {"0": 1.0}
    second.write({"": [family(2.0)], "/other": [family(9.0)]})
    assert read(first, 1.5) == {"0": 1.5, "1": 2.0}
    assert read(first, 1.5, "/other") == {"0": 1.5, "1": 9.0}
    assert [f.name for f in first.of_workers("", [family(1.0)])["1"]] == [
        "trunkline_x",
        "trunkline_worker_silent_seconds",
    ]


def test_of_one_that_has_ended_nothing_is_left(file: int) -> None:
    parent, first, second = SharedFigures(file, None), SharedFigures(file, 0), SharedFigures(file, 1)
    second.write({"": [family(2.0)]})
    parent.clear(1)
    assert read(first, 1.0) == {"0": 1.0}
    second.write({"": [family(2.0)]})
    second.clear()
    assert read(first, 1.0) == {"0": 1.0}
    parent.write_of_parent(2)
    assert [f.name for f in first.of_workers("", [family(1.0)])["parent"]] == ["trunkline_worker_ends"]
    assert [f.name for f in first.of_workers("/other", [family(1.0)])["parent"]] == ["trunkline_worker_ends"]


def test_what_is_half_written_or_of_another_version_is_left_out(file: int) -> None:
    first, second = SharedFigures(file, 0), SharedFigures(file, 1)
    second.write({"": [family(2.0)]})
    second._memory[module.SLOT_BYTES + 20] ^= 1
    assert read(first, 1.0) == {"0": 1.0}
    data = b"\x91\xc0"
    begin = module.SLOT_BYTES + module._HEAD.size
    second._memory[begin : begin + len(data)] = data
    module._HEAD.pack_into(second._memory, module.SLOT_BYTES, 0.0, len(data), zlib.crc32(data))
    assert read(first, 1.0) == {"0": 1.0}


def test_what_is_too_large_leaves_the_last_as_it_was(file: int) -> None:
    first, second = SharedFigures(file, 0), SharedFigures(file, 1)
    second.write({"": [family(2.0)]})
    second.write({"": [family(float(n)) for n in range(200_000)]})
    assert read(first, 1.0) == {"0": 1.0, "1": 2.0}
