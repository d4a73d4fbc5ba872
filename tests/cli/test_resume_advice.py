"""What is said at an interrupt."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from omgmj.cli.options import ServiceOptions, again
from omgmj.cli.resume_advice import resume_advice
from omgmj.cli.tally import Tally


def tally_of(ids: Iterable[int]) -> Tally:
    tally = Tally()
    tally.expect(ids)
    return tally


def test_resume_advice() -> None:
    """What is said at an interrupt names what is left, unless it is too much, nothing, or gone."""
    assert resume_advice(Tally(), partial(again, "watch", shared=ServiceOptions())) == "interrupted, with no task left"
    tally = tally_of([1, 2, 3])
    tally.lose(3)
    assert resume_advice(tally, None) == "interrupted; 2 of 3 tasks left, which are gone with the demo"
    said = resume_advice(tally, partial(again, "query", shared=ServiceOptions()))
    assert said == "interrupted; 2 of 3 tasks left. To go on: omgmj query 1 2"
    many = resume_advice(tally_of(range(1, 2001)), partial(again, "watch", shared=ServiceOptions()))
    assert "2000 of 2000 tasks left" in many
    assert "use the same command again: tasks that are done" in many
    said = resume_advice(tally_of(range(1, 22)), partial(again, "download", shared=ServiceOptions()), "images stay")
    assert said.endswith("again: images stay")
