"""What was learned, dumped and taken over: a planner that begins with it polls as the first one would go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.worlds import runner, tuned
from benchmarks.worlds.world import draw_stream
from omgmj import Adaptive
from omgmj.models import Status
from omgmj.scheduler.planner import Planner
from tests.scheduler.bench import Bench
from tests.scheduler.test_learning import record

WORLD = tuned.WORLDS[0]


@pytest.fixture(scope="module")
def taught() -> Planner:
    """Return a planner that saw forty tasks end."""
    planner = runner.fresh()
    runner._Run(WORLD, draw_stream(WORLD, 40, 1), Adaptive(), planner, 1).watch()
    return planner


def test_it_comes_back_as_it_was(taught: Planner) -> None:
    """What is taken over is dumped again as it was, by way of JSON, and is plain JSON."""
    planner = runner.fresh()
    planner.learning.restore(json.loads(json.dumps(taught.learning.dump(), allow_nan=False)))
    assert planner.learning.dump() == taught.learning.dump()


Change = Callable[[dict[str, Any]], object]


def steps_of(*sums: float) -> Change:
    return lambda kind: kind.update(steps={"30": list(sums)})


ODD: dict[str, Change] = {
    "a step beyond the last": lambda kind: kind.update(steps={"78": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]}),
    "too few sums": steps_of(1.0, 1.0, 1.0, 1.0, 1.0),
    "less than no samples": steps_of(-1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    "more samples than can count": steps_of(60.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    "a sum that no samples have": steps_of(4.0, 1.0, 1.0, 13.0, 1.0, 1.0),
    "squares that no samples have": steps_of(4.0, 1.0, 1.0, 1.0, 1.0, 40.0),
    "squares below 0": steps_of(4.0, 1.0, 1.0, 1.0, 1.0, -1.0),
    "a sum that is too large": steps_of(4.0, 1e7, 1.0, 1.0, 1.0, 1.0),
    "a time below 0": lambda kind: kind["durations"][2].__setitem__(0, -1.0),
    "a time that is too large": lambda kind: kind["durations"][2].__setitem__(0, 1e16),
    "too few times": lambda kind: kind["durations"][2].pop(),
    "no end": lambda kind: kind.update(silences={"QUEUED": [[1.0, None]]}),
    "no state": lambda kind: kind.update(silences={"ODD": [[1.0, 2.0]]}),
    "no kind": lambda kind: kind.pop("kind"),
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_what_cannot_be_is_refused(change: Change, taught: Planner) -> None:
    """What no planner can have dumped is a `ValueError`, and nothing of it is taken over."""
    dumped = taught.learning.dump()
    change(dumped["kinds"][-1])
    planner = runner.fresh()
    with pytest.raises(ValueError, match="this was not learned here"):
        planner.learning.restore(dumped)
    assert planner.learning.dump() == runner.fresh().learning.dump()


ODD_FIGURES: dict[str, dict[str, Any]] = {
    "an answer that takes days": {"answer_time": 5e5},
    "a bound that is no number": {"prices": [[1.0, "many", 0.1]]},
    "a bound below 0": {"prices": [[1.0, -3.0, 0.1]]},
    "a clock that is off by a day": {"date": [9e4, 0.0]},
}


@pytest.mark.parametrize("change", ODD_FIGURES.values(), ids=ODD_FIGURES)
def test_figures_that_cannot_be_are_refused(change: dict[str, Any], taught: Planner) -> None:
    """Believed, an answer that takes days would have each task polled without a rest."""
    planner = runner.fresh()
    with pytest.raises(ValueError, match="this was not learned here"):
        planner.learning.restore(taught.learning.dump() | change)
    assert planner.learning.dump() == runner.fresh().learning.dump()


@pytest.mark.parametrize("seconds", [-1.7e9, 9e10])
def test_absurd_starts_are_no_clock_that_is_off(seconds: float) -> None:
    """Where all start in 1970, or in 4877, what was learned can be taken over by the next run."""
    bench = Bench()
    for task_id in range(1, 30):
        bench.watch(task_id, policy=Adaptive())
        for status, progress in ((Status.IN_PROGRESS, 50), (Status.FAILURE, 50)):
            bench.poll()
            bench.now += 1.0
            finished = {"finished_at": bench.now} if status == Status.FAILURE else {}
            bench.saw(record(task_id, status, progress, started_at=seconds, **finished), age=12.0)
    told = json.loads(json.dumps(bench.planner.learning.dump()))
    Bench().planner.learning.restore(told)
