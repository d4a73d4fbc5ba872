"""Service time, in which stalls and failures are dated, and bounds. The rest is tested through the planner."""

from __future__ import annotations

import attrs

from omgmj.protocol.responses import read_source
from tests.scheduler.bench import Bench, record


def test_words_of_the_service_are_kept_within_bounds() -> None:
    """However many words the service thinks of, and however large a record is, little of it is kept."""
    bench = Bench()
    bench.watch(1)
    for number in range(2500):
        assert bench.found(f"W{number}").moved
        assert len(bench.planner.progress._traits) <= 1000
    large = attrs.evolve(record(1, "LARGE"), prompt="x" * 10**6, source=b"x" * 10**6)
    bench.poll()
    assert bench.saw(large).moved
    last = bench.planner.last(1)
    assert last is not None
    assert read_source(last, 1) == attrs.evolve(large, prompt=None)
