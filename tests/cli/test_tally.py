"""The tally of a run."""

from __future__ import annotations

from omgmj.cli.tally import Tally


def test_tally() -> None:
    """What is left, failed, lost, there already and received is counted once for each ID."""
    tally = Tally()
    tally.expect([1, 2, 3, 2])
    tally.expect([3, 4, 5])
    assert (str(tally), tally.is_well) == ("0 of 5 done, 0 failed", True)
    tally.receive(1, 300_000)
    tally.receive(1, 700_000)
    tally.receive(2, 800_000)
    tally.save(1, before=False)
    tally.save(2, before=True)
    assert (list(tally.left), tally.is_well) == ([3, 4, 5], True)
    tally.record(3, failed=True)
    tally.record(4, failed=False)
    tally.lose(5)
    assert not tally.left
    assert not tally.is_well
    assert str(tally) == "4 of 5 done, 1 failed, 1 unresolved, 1 there already, 1.5 MB"


def test_what_names_no_task() -> None:
    """What was to name a task and does not is one more that came to nothing; what is nobody's is only lost."""
    tally = Tally()
    tally.refuse()
    assert (str(tally), tally.is_well) == ("0 of 1 done, 0 failed, 1 unresolved", False)
