from trunkline.observe.counters import Counters


def test_a_commit_is_counted_once() -> None:
    counters = Counters()
    counters.committed(10, 3)
    counters.committed(1, 0)
    assert (counters.commits, counters.published, counters.duplicates) == (2, 8, 3)
    counters.refusals["forbidden"] += 1
    assert counters.refusals == {"forbidden": 1}
